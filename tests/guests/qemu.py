# SPDX-License-Identifier: Apache-2.0
"""Boots a kernel under QEMU with the host's own root file system and runs one command in it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.guests import busybox, emulator, guest, tools
from tests.guests.cache import Cache
from tests.guests.kernels import Kernel
from tests.guests.progress import UnavailableError, run, say

# Software emulation only. The machines this runs on are often guests themselves, where /dev/kvm
# opens but stock kernels die in it; and results must not depend on which machine it was.
# QEMU 7.2 emulates cmpxchg16b (cx16) wrongly now and then, which SLUB trips over at random;
# five-level page tables (la57) are of no use here and cost at every table walk.
_MACHINE = ("-machine", "q35")
# Each step of a string instruction is emulated apart: a kernel that is told of fast ones (erms,
# fsrm) copies and clears byte by byte, and without them eight at a time.
_CPU = "max,cx16=off,la57=off,erms=off,fsrm=off"
_PARALLEL = ("-accel", "tcg,thread=multi")
# One instruction takes one nanosecond of the guest's time, however busy the host is, and so does
# each step of a string instruction.
_COUNTED = ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off")
_QUIET = ("-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot")

# A panic must end the machine, not hang it. no_timer_check: the timer of a guest on a busy host is
# slower than check_timer() waits for it (arch/x86/kernel/apic/io_apic.c), and the kernel panics.
_APPEND = "console=ttyS0 oops=panic panic=-1 loglevel=5 no_timer_check"

# The host's files do not change while a guest reads them, so it may keep what it knows of them:
# a daemon then starts in two thirds of the time.
_UNCHANGED = "cache=always"

_POLL_S = 0.1
BOOTING_AGAIN = "a known fault of the emulator; booting once more"
START_S = 180.0
"""A guest begins its command after three seconds, and on a busy machine after thirty."""
_TAIL_LINES = 40
_DEATHS = ("Kernel panic", "Oops: ", "BUG: ", "hvo-guest: cannot", "general protection fault")


@dataclass(frozen=True)
class Host:
    """What the host contributes to a guest."""

    qemu: str
    virtiofsd: tuple[str, ...]
    busybox: Path

    @staticmethod
    def find() -> Host:
        """Installs or downloads what is missing, or says why it cannot."""
        if os.geteuid() != 0:
            raise UnavailableError("booting a guest needs root: virtiofsd serves the host's files")
        qemu = tools.require("qemu")  # first: where virtiofsd is no package, it comes with this
        virtiofsd = _virtiofsd_command(tools.require("virtiofsd"))
        return Host(qemu, virtiofsd, busybox.provide(Cache()))


Watcher = Callable[[str, bytes], None]
"""Called with a stream's name (console, stdout, stderr) and what it newly says."""


class GuestError(RuntimeError):
    """The guest ended without handing over its command's exit code."""


class GuestTimeoutError(GuestError):
    """The guest was still running when its time was over."""


class EmulatorError(GuestError):
    """The guest died of a fault of the emulator's."""

    def __init__(self, reason: str, where: str) -> None:
        """``reason`` is what ``emulator.death`` says, ``where`` the end of the guest's logs."""
        super().__init__(f"the emulator killed the guest: {reason}\n{where}")
        self.reason = reason


@dataclass(frozen=True)
class GuestRun:
    """How a command fared in a guest."""

    exit_code: int
    out: Path
    wall_s: float

    @property
    def console_path(self) -> Path:
        """The serial console's log: the kernel's own words."""
        return self.out / "console.log"

    @property
    def console(self) -> str:
        """What the kernel said."""
        return _text(self.console_path)

    @property
    def stdout(self) -> str:
        """What the command printed."""
        return _text(self.out / "stdout.log")

    @property
    def stderr(self) -> str:
        """What the command printed as errors."""
        return _text(self.out / "stderr.log")


Guest = Callable[..., GuestRun]
"""Takes a command and run_in_guest's options; see the fixture of this name."""


def run_in_guest(kernel: Kernel, argv: Sequence[str], *, out: Path, **options: Any) -> GuestRun:
    """As ``boot_once``, and once more if the guest died of the emulator."""
    return retrying(boot_once, kernel, argv, out=out, **options)


def retrying(
    boot: Guest, kernel: Kernel, argv: Sequence[str], *, out: Path, **options: Any
) -> GuestRun:
    """Boot; after a death of the emulator's remove what that run left in ``out``, and boot again.

    console-first.log in ``out`` is then what the first run said.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = set(out.iterdir())
    try:
        return boot(kernel, argv, out=out, **options)
    except EmulatorError as error:
        say(f"{kernel.name}: {error.reason}: {BOOTING_AGAIN}")
    first = (out / "console.log").read_bytes()
    _remove_all(set(out.iterdir()) - before)
    (out / "console-first.log").write_bytes(first)
    return boot(kernel, argv, out=out, **options)


def boot_once(
    kernel: Kernel,
    argv: Sequence[str],
    *,
    out: Path,
    memory_mib: int = 8192,
    cpus: int = 2,
    nodes: int = 2,
    bare_nodes: int = 0,
    append: str = "",
    timeout_s: float = 300,
    env: Mapping[str, str] | None = None,
    counted: bool = False,
    cwd: Path | None = None,
    watch: Watcher | None = None,
) -> GuestRun:
    """Boot `kernel`, run `argv` as root, power off.

    The guest sees the host's files at their own paths. What it writes vanishes with it, except
    below `out`, which also receives console.log, stdout.log and stderr.log. With `counted`, and
    one CPU, its clock counts instructions: slow, but the same in every run.
    """
    host = Host.find()
    out = _emptied(out.resolve())
    job = guest.Job(argv, out, (cwd or Path.cwd()).resolve(), env or {})
    begin = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hvo-guest-")))
        (scratch / "initrd").write_bytes(guest.initramfs(kernel, job, host.busybox))
        cached = (*host.virtiofsd, "-o", _UNCHANGED)
        root = stack.enter_context(_virtiofsd(cached, Path("/"), scratch / "root"))
        share = stack.enter_context(_virtiofsd(host.virtiofsd, out, scratch / "out"))
        command = [
            *(host.qemu, *_MACHINE, *_QUIET, *(_COUNTED if counted else _PARALLEL)),
            *("-cpu", _CPU),
            *memory_arguments(memory_mib, cpus, nodes, bare_nodes),
            *(*_share("hostroot", root), *_share("out", share)),
            *("-kernel", str(kernel.vmlinuz), "-initrd", str(scratch / "initrd")),
            *("-append", " ".join(filter(None, (_APPEND, kernel.append, append)))),
            *("-serial", f"file:{out / 'console.log'}"),
        ]
        log = stack.enter_context((scratch / "qemu.log").open("wb"))
        qemu = stack.enter_context(_process(command, log))
        ended = _wait(qemu, begin, timeout_s, _Follower(out, watch))
        said = "".join(_text(path) for path in sorted(scratch.glob("*.log")))
    return _result(out, ended, said, time.monotonic() - begin, timeout_s)


def _emptied(out: Path) -> Path:
    """The directory, without what an earlier run left of its own there."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("console.log", "stdout.log", "stderr.log", "exit-code"):
        (out / name).unlink(missing_ok=True)
    return out


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def memory_arguments(memory_mib: int, cpus: int, nodes: int, bare_nodes: int = 0) -> Iterator[str]:
    """Memory that virtiofsd can see too, split evenly over NUMA nodes, and so are the CPUs.

    The last nodes, `bare_nodes` more, have no CPU: nothing lives there by itself.
    """
    all_nodes = nodes + bare_nodes
    if memory_mib % all_nodes or cpus % nodes:
        raise ValueError(f"{memory_mib} MiB and {cpus} CPUs do not go over {all_nodes} nodes")
    # A socket per node: the kernel warns of nodes that share a cache.
    yield from ("-m", f"{memory_mib}M", "-smp", f"{cpus},sockets={nodes}")
    for node in range(all_nodes):
        size = memory_mib // all_nodes
        # reserve=off: a guest may have more than the host, as long as it does not write to all.
        backend = f"memory-backend-memfd,id=mem{node},size={size}M,share=on,reserve=off"
        yield from ("-object", backend)
        own = "".join(f"cpus={cpu}," for cpu in range(cpus) if cpu * nodes // cpus == node)
        yield from ("-numa", f"node,nodeid={node},{own}memdev=mem{node}")


def _share(tag: str, path: Path) -> tuple[str, ...]:
    return (
        *("-chardev", f"socket,id={tag},path={path}"),
        *("-device", f"vhost-user-fs-pci,chardev={tag},tag={tag},queue-size=1024"),
    )


def _virtiofsd_command(program: str) -> tuple[str, ...]:
    """The options common to QEMU's own virtiofsd and to its successor in Rust."""
    # sandbox=chroot: the default one needs pivot_root, which containers do not have.
    command = (program, "-o", "sandbox=chroot")
    # Mounts that announce themselves cannot lie below an overlay ("Object is remote").
    quiet = "--no-announce-submounts"
    return (*command, quiet) if quiet in run("virtiofsd", [program, "--help"]) else command


@contextmanager
def _virtiofsd(command: Sequence[str], directory: Path, path: Path) -> Iterator[Path]:
    """Serves `directory` on a socket; the listening socket is ours, so there is no start race."""
    with (
        socket.socket(socket.AF_UNIX) as listener,
        path.with_suffix(".log").open("wb") as log,
    ):
        listener.bind(str(path))
        listener.listen(1)
        fd = listener.fileno()
        with _process([*command, f"--fd={fd}", "-o", f"source={directory}"], log, (fd,)):
            yield path


@contextmanager
def _process(
    command: Sequence[str], log: IO[bytes], fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that goes with us, whichever way we go: setpriv covers our own SIGKILL."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=fds,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class _Follower:
    """Hands what appears in a run's logs to a watcher."""

    def __init__(self, out: Path, watch: Watcher | None) -> None:
        self._watch = watch
        self._paths = {name: out / f"{name}.log" for name in ("console", "stdout", "stderr")}
        self._read = dict.fromkeys(self._paths, 0)

    @property
    def started(self) -> bool:
        """The guest's command has begun."""
        return self._paths["stdout"].exists()

    def poll(self) -> None:
        if self._watch is None:
            return
        for name, path in self._paths.items():
            if not path.exists():
                continue
            with path.open("rb") as log:
                log.seek(self._read[name])
                if new := log.read():
                    self._read[name] += len(new)
                    self._watch(name, new)


def _wait(
    qemu: subprocess.Popen[bytes], begin: float, timeout_s: float, follower: _Follower
) -> bool:
    """True if the machine went off by itself in time; its command must begin within `START_S`."""
    while (taken := time.monotonic() - begin) < timeout_s:
        if taken > START_S and not follower.started:
            return False
        try:
            qemu.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            follower.poll()
            continue
        follower.poll()
        return True
    return False


def _result(out: Path, ended: bool, said: str, wall_s: float, timeout_s: float) -> GuestRun:
    console = _text(out / "console.log")
    tail = "\n".join(console.splitlines()[-_TAIL_LINES:])
    where = f"{said}\n--- end of {out / 'console.log'} ---\n{tail}"
    code = _text(out / "exit-code").strip()
    if ended and code:
        return GuestRun(int(code), out, wall_s)
    started = (out / "stdout.log").exists()
    if fault := emulator.death(console, started=started, timed_out=not ended):
        raise EmulatorError(fault, where)
    if not ended:
        when = (
            f"{wall_s:.0f} s without beginning its command" if not started else f"{timeout_s:g} s"
        )
        raise GuestTimeoutError(f"guest killed after {when}\n{where}")
    deaths = [line for line in console.splitlines() if any(sign in line for sign in _DEATHS)]
    reason = deaths[0].strip() if deaths else "it went off without a word"
    raise GuestError(f"guest died: {reason}\n{where}")


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
