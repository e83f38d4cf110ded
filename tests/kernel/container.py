# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: the container image under an OCI runtime, once for each way to start it.

``python -m tests.kernel.container FOLDER OPERATION...`` reads job.json of the folder (``Job``), and
writes container.json there. It judges nothing.
"""

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.bpf.program_cache import SHIPPED_FOLDER
from probes.operations import parse_operation
from tests.kernel.secured import threads
from tests.kernel.workload import Notes, hooks, hooks_left, kernels_own, perform, wait_for


@dataclass(frozen=True)
class Way:
    """How the image is started."""

    port: int
    uid: int
    capabilities: Sequence[str]
    """Of the container, without CAP_."""
    arguments: Sequence[str]
    """After the entry point."""
    ambient: bool = False
    """The capabilities are ambient, too: a user other than root keeps them."""
    seccomp: Mapping[str, Any] | None = None
    """The runtime's filter of system calls."""

    @property
    def command(self) -> list[str]:
        """What the container runs."""
        return ["hvoscope", *self.arguments]

    def capability_sets(self) -> dict[str, list[str]]:
        """The sets of the runtime's specification."""
        names = [f"CAP_{name}" for name in self.capabilities]
        sets = ["bounding", "effective", "permitted"]
        return dict.fromkeys([*sets, *(["inheritable", "ambient"] if self.ambient else [])], names)


@dataclass(frozen=True)
class Job:
    """The image, the programs that are mounted into it, and the ways to start it."""

    root: str
    programs: str
    ways: Mapping[str, Way]

    @staticmethod
    def read(path: Path) -> "Job":
        """Read what the host wrote."""
        found = json.loads(path.read_text())
        ways = {name: Way(**way) for name, way in found["ways"].items()}
        return Job(found["root"], found["programs"], ways)


def specification(job: Job, way: Way) -> dict[str, Any]:
    """The OCI runtime specification, with the mounts and masks that Kubernetes makes of a pod.

    The network is the guest's, which has only the loopback.
    """

    def mount(at: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
        return {"destination": at, "type": kind, "source": source or kind, "options": options}

    return {
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": way.uid, "gid": way.uid},
            "args": way.command,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": way.capability_sets(),
            "noNewPrivileges": True,
        },
        "root": {"path": job.root, "readonly": True},
        "mounts": [
            mount("/proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "nosuid", "mode=755", "size=65536k"),
            mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            mount(str(SHIPPED_FOLDER), "bind", "bind", "ro", source=job.programs),
        ],
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "mount", "ipc", "uts")],
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
            **({"seccomp": way.seccomp} if way.seccomp else {}),
        },
    }


_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list"),
    *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Kubernetes' default of procMount, as containerd has it."""

_RUNTIME = ("crun", "--cgroup-manager=disabled")


class Container:
    """A running container."""

    def __init__(self, name: str, way: Way, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.way, self.process, self.log = name, way, process, log

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one request; 0 while it is not listening."""
        try:
            url = f"http://127.0.0.1:{self.way.port}{path}"
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def settled(self) -> bool:
        """Whether it is over, serves without probes, or has probes and a census."""
        return (
            self.process.poll() is not None
            or "no probes" in self.log.read_text()
            or "hvo_optimized_hugepages{" in self.get("/metrics")[1]
        )

    def notes(self) -> Notes:
        """What it is and serves now."""
        pid = json.loads(_runtime("state", self.name))["pid"]
        return {"ready": self.get("/-/ready"), "scrape": self.get("/metrics")[1]} | {
            "threads": threads(pid)
        }


@contextmanager
def started(job: Job, name: str, log: Path) -> Iterator[Container]:
    """A container, which SIGTERM ends."""
    way = job.ways[name]
    with tempfile.TemporaryDirectory() as bundle, log.open("wb") as stderr:
        Path(bundle, "config.json").write_text(json.dumps(specification(job, way)))
        command = [*_RUNTIME, "run", "--bundle", bundle, name]
        with subprocess.Popen(command, stdout=stderr, stderr=stderr) as process:
            container = Container(name, way, process, log)
            try:
                yield container
            finally:
                if process.poll() is None:
                    _runtime("kill", name, "TERM")
                process.wait(60)


def _runtime(*arguments: str) -> str:
    return subprocess.run(
        [*_RUNTIME, *arguments], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main() -> None:
    """Start it every way at once, operate, and write container.json."""
    out, operations = Path(sys.argv[1]), sys.argv[2:]
    job = Job.read(out / "job.json")
    # The runtime asks which version of cgroups it has, even if it makes none.
    subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=True)
    with ExitStack() as stack:
        containers = [
            stack.enter_context(started(job, name, out / f"{name}.log")) for name in job.ways
        ]
        wait_for(lambda: all(container.settled() for container in containers))
        start = kernels_own()
        for text in operations:
            perform(parse_operation(text))
        notes: Notes = {
            "kernel": [start, kernels_own()],
            "hooks": hooks(),
            "ways": {container.name: container.notes() for container in containers},
        }
    for container in containers:
        notes["ways"][container.name] |= {
            "exit_code": container.process.returncode,
            "log": container.log.read_text(),
        }
    notes["hooks_left"] = hooks_left()
    (out / "container.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()
