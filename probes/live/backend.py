# SPDX-License-Identifier: Apache-2.0
"""The live backend: the daemon's side. It maps what the loader attached and only ever reads."""

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator

from probes.backend import STEPS, BackendError, Info, ProbeStatus, Status
from probes.counters import Counters
from probes.host import Host, read_text
from probes.live.handover import (
    AUTO,
    KPROBE,
    Handover,
    Request,
    receive_handover,
    send_request,
)
from probes.live.layout import Layout
from probes.live.plan import FULL, observed_durations, observed_slots
from probes.live.ring import RingReader

LOADER_TIMEOUT_S = 300
"""Compiling takes seconds; a busy emulated machine has needed a hundred."""

_POLL_MS = 100
_STDERR_TAIL = 300


class LiveBackend:
    """Counts and streams what the running kernel does (``probes.backend.Backend``)."""

    def __init__(
        self,
        host: Host | None = None,
        *,
        mode: str = FULL,
        attach: str = AUTO,
        stream: bool = False,
    ) -> None:
        """Prepare only.

        ``mode`` is one of ``plan.MODES``, ``attach`` one of ``handover.ATTACHES``. ``stream`` asks
        for the event stream beside the counters.
        """
        self._host = host or Host()
        self._mode = mode
        # Under a kprobe nothing else runs on the CPU, so that sequence numbers have no gap but a
        # loss; a trampoline leaves preemption on.
        self._attach = KPROBE if stream and attach == AUTO else attach
        self._stream = stream
        self._handover = Handover()
        self._memory: mmap.mmap | None = None
        self._layout = Layout((), 0, 0)
        self._ring: RingReader | None = None
        # Scrapes and the stream's consumer run in threads of their own; what they read must not
        # be unmapped under them. Two locks, since the consumer waits with its own.
        self._memory_lock = threading.Lock()
        self._ring_lock = threading.Lock()

    @property
    def info(self) -> Info:
        """Name, running kernel and probe mode."""
        return Info("bcc", self._host.release, self._mode, os.sysconf("SC_PAGE_SIZE"))

    def start(self) -> None:
        """Run the loader and map what it hands over. Raises ``BackendError``."""
        try:
            self._handover = _run_loader(
                Request.of(self._host, mode=self._mode, attach=self._attach, stream=self._stream)
            )
        except BackendError as error:
            self._handover = Handover(problem=str(error))
        except OSError as error:
            self._handover = Handover(problem=f"the loader can't be run: {error}")
        handover = self._handover
        if handover.problem:
            handover.probes = [
                ProbeStatus(step, attached=False, reason=handover.problem) for step in STEPS
            ]
            raise BackendError(handover.problem)
        self._layout = Layout(handover.orders, handover.nodes, handover.cpus)
        try:
            self._memory = mmap.mmap(
                handover.descriptors["counters"],
                _whole_pages(self._layout.size),
                mmap.MAP_SHARED,
                mmap.PROT_READ,
            )
            if self._stream:
                self._ring = RingReader(handover.descriptors["events"], handover.stream_bytes)
        except OSError as error:
            self.stop()
            raise BackendError(f"the counters can't be mapped ({error})") from error

    def stop(self) -> None:
        """Unmap and close; the kernel then removes the probes."""
        with self._ring_lock:
            if self._ring:
                self._ring.close()
                self._ring = None
        with self._memory_lock:
            if self._memory:
                self._memory.close()
                self._memory = None
        self._handover.close()

    def counters(self) -> Counters:
        """Sum the CPUs' blocks; empty before ``start``."""
        block = self._block()
        if not block:
            return Counters()
        attached = self._attached()
        return self._layout.counters(
            block,
            observed_slots(attached, self._mode),
            observed_durations(attached, self._mode),
        )

    def records(self) -> Iterator[bytes]:
        """Blocks of event records until ``stop``; an empty one after a quiet tenth of a second."""
        if not self._stream:
            raise BackendError("this backend was made without an event stream")
        while True:
            with self._ring_lock:
                if self._ring is None:
                    return
                block = self._ring.read(_POLL_MS)
            yield block

    def status(self) -> Status:
        """Probes and what they missed; ready when every step is attached."""
        probes = tuple(self._handover.probes)
        block = self._block()
        if not block:
            return Status(False, probes, self._handover.problem or "not started")
        seen = self._layout.diagnostics(block)
        missed = self._recursion_misses()
        for step in ("optimize", "restore"):
            missed[step] += seen[f"missed_{step}"]
        detached = [f"{p.step}: {p.reason}" for p in probes if not p.attached]
        return Status(
            ready=not detached,
            probes=probes,
            problem="; ".join(detached),
            missed={step: n for step, n in missed.items() if step in self._attached()},
            map_errors={"operations": seen["map_errors"]},
            lost={"ring": seen["stream_lost"]} if self._stream else {},
        )

    def _recursion_misses(self) -> Counter[str]:
        """Hits on which the kernel would not run a program, by step (Linux 5.12 and later)."""
        misses = Counter(dict.fromkeys(STEPS, 0))
        for name, descriptor in self._handover.descriptors.items():
            if name.startswith("program:"):
                info = read_text(self._host.proc / f"self/fdinfo/{descriptor}") or ""
                for line in info.splitlines():
                    if line.startswith("recursion_misses:"):
                        misses[name.split(":")[1]] += int(line.split()[1])
        return misses

    def _attached(self) -> frozenset[str]:
        return frozenset(p.step for p in self._handover.probes if p.attached)

    def _block(self) -> list[int]:
        with self._memory_lock:
            if self._memory is None:
                return []
            with memoryview(self._memory) as view:
                return self._layout.sum_blocks(view)


def _gist(stderr: str) -> str:
    """The first error of a compiler's many lines, or else the end of what was said."""
    lines = stderr.splitlines()
    first = next((line for line in lines if "error:" in line), None)
    return " ".join((first or stderr).split())[-_STDERR_TAIL:]


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _run_loader(request: Request) -> Handover:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryFile() as stderr:
        with theirs:
            loader = subprocess.Popen(
                # -P: the folder it is started in must have no say in what root imports.
                [sys.executable, "-P", "-m", "probes.live.loader", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        ours.settimeout(LOADER_TIMEOUT_S)
        handover = None
        try:
            # A loader that dies early shuts the socket; its exit code then says more.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                send_request(ours, request)
                handover = receive_handover(ours)
        except TimeoutError:
            loader.kill()
            raise BackendError(
                f"attaching took longer than {LOADER_TIMEOUT_S} s: try again when the host is quiet"
            ) from None
        except BaseException:
            loader.kill()
            raise
        finally:
            code = loader.wait()
        stderr.seek(0)
        said = _gist(stderr.read().decode(errors="replace"))
    if handover is None:
        raise BackendError(f"the loader died (exit {code}) before it attached anything: {said}")
    if handover.problem and said:
        handover.problem += f"; it said: {said}"
    return handover
