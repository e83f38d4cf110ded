# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: drives the product on the running kernel and writes down what it saw.

It judges nothing; the host's tests read its notes.
``python -m tests.kernel.workload FOLDER OPERATION...``
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporter.verify.hugetlb_files import HugetlbFiles
from exporter.verify.meminfo import read_meminfo
from probes.counters import Counters
from probes.geometry import KIB, MIB
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from probes.operations import Operation, parse_operation
from tests.kernel.drain import Drain
from tests.process import taken

OPERATIONS = (
    "hvo off",
    "grow 2MB 5",
    "shrink 2MB 5",
    "hvo on",
    # The 2 MB pages stay while the 1 GB page comes, so both have memory that was never optimised
    # before: only then does MemTotal rise by every frame that is freed.
    "grow 2MB 23",
    "grow 1GB 1",
    "shrink 2MB 23",
    "shrink 1GB 1",
)

ADDRESS = "127.0.0.1:10917"
HVOSCOPE = str(Path(sys.executable).with_name("hvoscope"))
READY_TIMEOUT_S = 300

Notes = dict[str, Any]


_FILES = HugetlbFiles(Host(), drop_caches=True)
perform = _FILES.perform
"""Do one operation on the running kernel; a 1 GB page may want what is cached to be dropped."""
pool_of = _FILES.pool
SWITCH = _FILES.switch


def memmap_pages() -> int | None:
    """nr_memmap_pages + nr_memmap_boot_pages; None before Linux 6.11."""
    found = [count for name, count in vmstat().items() if name.startswith("nr_memmap_")]
    return sum(found) if found else None


def vmstat() -> dict[str, int]:
    """The kernel's own counts, by name."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return {name: int(count) for name, count in map(str.split, lines)}


def meminfo_kib(name: str) -> int:
    """A line of /proc/meminfo, in KiB."""
    return read_meminfo(Host())[name] // KIB


def kernels_own() -> Notes:
    """What the kernel itself accounts: MemTotal in kB, memmap pages, and each node's pools."""
    pools = {
        f"{path.parts[-4]} {path.parts[-2]}": int(path.read_text())
        for path in Path("/sys/devices/system/node").glob("node*/hugepages/*/nr_hugepages")
    }
    return {
        "memtotal_kib": meminfo_kib("MemTotal"),
        "memmap_pages": memmap_pages(),
        "pools": pools,
    }


def get(path: str) -> tuple[int, str]:
    """Status and body of one request to the exporter; 0 while it is not listening."""
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def wait_for(what: Callable[[], bool], seconds: float = READY_TIMEOUT_S) -> None:
    """Wait until it is so; ``TimeoutError`` when it never is."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.05)


@contextmanager
def exporter(
    log: Path, *prefix: str, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """``hvoscope serve --backend bcc``, listening; ended by SIGTERM."""
    command = [*prefix, HVOSCOPE, "serve", "--backend", "bcc", "--web.listen-address", ADDRESS]
    command += options
    with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            wait_for(lambda: get("/-/healthy")[0] == 200 or process.poll() is not None)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def recording(path: Path) -> Iterator[LiveBackend]:
    """A second backend beside the exporter, whose event stream goes to ``path``."""
    backend = LiveBackend(stream=True)
    backend.start()

    with path.open("wb") as file:
        drain = Drain(backend, file.write)
        drain.start()
        try:
            yield backend
            drain.await_empty()
        finally:
            backend.stop()
            drain.join()


def plain(counters: Counters) -> Notes:
    """Counters as JSON can hold them."""
    return {
        "totals": [[*slot, *key, n] for (slot, key), n in counters.totals.items()],
        "durations": [[*key, h.counts, h.sum_ns] for key, h in counters.durations.items()],
    }


def hooks() -> str:
    """Every kprobe in the kernel, and every function of HVO that ftrace diverts (fentry)."""
    kprobes = Path("/sys/kernel/debug/kprobes/list").read_text()
    diverted = Path("/sys/kernel/tracing/enabled_functions").read_text().splitlines(keepends=True)
    return kprobes + "".join(line for line in diverted if "vmemmap" in line)


def hooks_left() -> str:
    """What stays of them: the kernel lets go of a link a moment after its last descriptor."""
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not hooks(), 10)
    return hooks()


def count_exactly(out: Path, operations: Sequence[str]) -> Notes:
    """The main job: serve, operate, scrape, compare notes with the kernel's own."""
    notes: Notes = {"steps": []}
    with exporter(out / "serve.log") as process:
        notes["ready_before_attach"] = get("/-/ready")
        wait_for(lambda: get("/-/ready")[0] == 200)
        with recording(out / "events.bin") as recorder:
            notes["start"] = {"scrape": get("/metrics")[1], "kernel": kernels_own()}
            for text in operations:
                perform(parse_operation(text))
                step = {"op": text, "scrape": get("/metrics")[1], "kernel": kernels_own()}
                notes["steps"].append(step)
            seen = recorder.observe()
            notes["recorder"] = plain(seen.counters)
            notes["lost"] = dict(seen.status.lost)
            notes["missed"] = dict(seen.status.missed)
        notes["hooks_while_serving"] = hooks()
        notes["landing_page"] = get("/")
        notes["elsewhere"] = get("/nowhere")
        notes["rss_kib"] = taken(process.pid).rss_kib
    notes["exit_code"] = process.returncode
    notes["hooks_left"] = hooks_left()
    return notes


def ask_trace(*, shrinks: bool) -> Notes:
    """``hvoscope trace`` as its user would: a few lines while the pool grows."""
    command = [HVOSCOPE, "trace", "--pte", "--count", "9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        header = process.stdout.readline()  # printed once every probe is attached
        grown = 0
        while process.poll() is None:
            grown += 1
            perform(Operation("grow", 2 * MIB, 1))
            time.sleep(1)
        notes = {
            "exit_code": process.returncode,
            "stdout": (header + process.stdout.read()).decode(),
            "stderr": process.stderr.read().decode(),
        }
    if shrinks:
        perform(Operation("shrink", 2 * MIB, grown))
    return notes


def headers() -> Path:
    """Where BCC looks for the running kernel's headers."""
    return Path(f"/lib/modules/{os.uname().release}/build")


def refused(out: Path) -> Notes:
    """What each obstacle makes of ``trace`` and ``serve``. Files vanish with the guest."""
    # Root without any capability: it may read files of its own, and attach nothing.
    powerless = ("setpriv", "--bounding-set", "-all")
    notes: Notes = {"unprivileged": refusal(out, "unprivileged", *powerless)}
    # Without headers, what was compiled before would do: so nothing must have been.
    with moved_away(headers()), tempfile.TemporaryDirectory() as empty:
        notes["no headers"] = refusal(out, "no-headers", "env", f"CACHE_DIRECTORY={empty}")
    with covered(Path("/usr/lib/python3/dist-packages/bcc")):
        notes["no bcc"] = refusal(out, "no-bcc")
    return notes


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """Without ``path`` for a while."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def covered(folder: Path) -> Iterator[None]:
    """With an empty file system over ``folder`` for a while."""
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def refusal(out: Path, name: str, *prefix: str) -> Notes:
    """Ask for the impossible, and note what is said and what is still served."""
    trace = subprocess.run(
        [*prefix, HVOSCOPE, "trace"], capture_output=True, text=True, check=False
    )
    log = out / f"serve-{name}.log"
    with exporter(log, *prefix):
        wait_for(lambda: "no probes" in log.read_text())
        served = {"ready": get("/-/ready"), "scrape": get("/metrics")[1]}
    return {
        "trace_exit_code": trace.returncode,
        "trace_stderr": trace.stderr,
        "log": log.read_text(),
        "hooks_left": hooks_left(),
        "pool_2mb": int((pool_of(2 * MIB) / "nr_hugepages").read_text()),
        **served,
    }


def main() -> None:
    """Do all of it and write notes.json."""
    out, operations = Path(sys.argv[1]), sys.argv[2:]
    notes = {"release": os.uname().release, "counts": count_exactly(out, operations)}
    notes["trace"] = ask_trace(shrinks=any(text.startswith("shrink") for text in operations))
    notes["refused"] = refused(out)
    (out / "notes.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()
