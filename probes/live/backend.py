# SPDX-License-Identifier: Apache-2.0
"""The live backend in the daemon: maps what the loader attached, and only reads it."""

import logging
import mmap
import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from probes.backend import FULL, STEPS, BackendError, Info, Start
from probes.baseline import Baseline
from probes.bpf import misses
from probes.bpf.handover import AUTO, Handover, Request
from probes.bpf.layout import Layout
from probes.bpf.program_cache import DEFAULT_FOLDER, SHIPPED_FOLDER
from probes.bpf.ring import POLL_MS, RingReader
from probes.bpf.stacks import lookup_in
from probes.counters import Counters
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState
from probes.kernel.symbolize import Symbols, SymbolsError
from probes.live.loader_process import LoaderProcess
from probes.live.numbering import Numbering
from probes.live.recount import Recount
from probes.live.stacks import Stacks
from probes.observation import (
    CENSUS,
    DRIFT,
    PARTS,
    PROBES,
    Absent,
    Observation,
    Probes,
    ProbeStatus,
    Status,
)
from probes.observed import observed_durations, observed_slots
from probes.observer import HugetlbState, Observer

_CENSUS_WAIT_S = 2.0
"""How long ``start`` waits for the census: 1 TiB of 2 MB pages can take longer."""
_PENDING = Absent("the census has not ended yet: huge pages come and go all the time")

log = logging.getLogger("hvoscope")


class LiveBackend:
    """``probes.backend.Backend`` of the running kernel."""

    def __init__(
        self,
        host: Host | None = None,
        *,
        mode: str = FULL,
        attach: str = AUTO,
        stream: bool = False,
        stacks: bool = False,
        cache: Path | None = DEFAULT_FOLDER,
        programs: Path | None = SHIPPED_FOLDER,
        state: HugetlbState | None = None,
        later_census: Path | None = None,
    ) -> None:
        """Read and start nothing yet.

        ``mode`` is one of ``backend.MODES``, ``attach`` one of ``handover.ATTACHES``. ``stream``
        requests the event stream in addition to the counters, ``stacks`` also the kernel stacks of
        its events. ``cache`` is the folder of compiled programs, ``programs`` that of programs
        compiled elsewhere; None for none. ``state`` reads the HugeTLB state, by default that of
        ``host``. ``later_census`` is where ``hvoscope census --output`` leaves one for ``reload``.
        """
        self._host = host or Host()
        self._mode = mode
        self._attach = attach
        self._stream = stream
        self._stacks = stacks
        self._named: Stacks | None = None
        self._cache = cache
        self._programs = programs
        self._loader: LoaderProcess | None = None
        self._handover = Handover()
        self._began: Start | None = None
        self._memory: mmap.mmap | None = None
        self._layout = Layout((), 0, 0)
        self._ring: RingReader | None = None
        self._numbering = Numbering()
        self._baseline: Baseline | Absent = Absent("not started")
        self._recount = Recount(later_census)
        self._observer = Observer(
            self._memory_copy,
            self._probes,
            state or KernelState(self._host),
            self._known_baseline,
        )
        # Scrapes and the stream's consumer run in other threads; the locks keep stop() from
        # unmapping memory that they read. Two locks, because the consumer holds its own while it
        # waits.
        self._loader_lock = threading.Lock()
        self._memory_lock = threading.Lock()
        self._ring_lock = threading.Lock()

    @property
    def info(self) -> Info:
        """Backend name, running kernel and probe mode."""
        handover = self._handover
        return Info(
            "bcc",
            self._host.release,
            self._mode,
            os.sysconf("SC_PAGE_SIZE"),
            supported=handover.supported,
            checks=handover.checks,
            start=self._began,
            stacks=self._stacks,
        )

    def prepare(self) -> None:
        """Start the loader process, which alone needs privileges; it attaches at ``start``."""
        if self._loader is None:
            try:
                self._loader = LoaderProcess(self._request())
            except OSError as error:
                self._handover = Handover(problem=f"the loader can't be started: {error}")

    def start(self) -> None:
        """Let the loader attach the probes, and map their memory. Raises ``BackendError``."""
        self._began = Start.now()  # also if nothing can be attached
        self.prepare()
        if self._loader is not None:
            self._handover = self._ask(self._loader)
        handover = self._handover
        if handover.origin:
            log.info("probes: %s", handover.origin)
        if handover.problem:
            handover.probes = [
                ProbeStatus(step, attached=False, reason=handover.problem) for step in STEPS
            ]
            self._loader, self._baseline = None, Absent(handover.problem)
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
                self._numbering = Numbering()
            if self._stacks:
                self._named = self._make_stacks(handover)
        except OSError as error:
            self.stop()
            raise BackendError(f"the counters can't be mapped ({error})") from error
        except SymbolsError as error:
            self.stop()
            raise BackendError(str(error)) from error
        self._began = Start.now()
        self.observe((DRIFT,))  # sets the baseline
        self._baseline = _PENDING
        self._receive_baseline(_CENSUS_WAIT_S)

    def _request(self) -> Request:
        return Request.of(
            self._host,
            mode=self._mode,
            attach=self._attach,
            stream=self._stream,
            stacks=self._stacks,
            cache=self._cache,
            programs=self._programs,
        )

    def _ask(self, loader: LoaderProcess) -> Handover:
        try:
            return loader.ask()
        except (BackendError, OSError) as error:
            return Handover(problem=str(error))

    def stop(self) -> None:
        """Unmap and close everything; the kernel then removes the probes."""
        with self._loader_lock:
            if self._loader is not None:
                self._loader.close()
                self._loader = None
        with self._ring_lock:
            if self._ring:
                self._ring.close()
                self._ring = None
        with self._memory_lock:
            if self._memory:
                self._memory.close()
                self._memory = None
        self._handover.close()

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Observe counters since ``start``; ready if the probe of every step is attached."""
        return self._observer.observe(parts)

    def reload(self) -> None:
        """Hold a later census against the count, and go on from it; see ``probes.live.recount``."""
        seen = self.observe((PROBES, CENSUS))
        with self._loader_lock:
            self._baseline = self._recount.take_up(seen, self._baseline)

    def records(self) -> Iterator[bytes]:
        """Yield blocks of event records until ``stop``; an empty block after 100 ms without any.

        Records of an operation arrive when it ends, or in batches of 16.
        """
        if not self._stream:
            raise BackendError("this backend has no event stream: create it with stream=True")
        while True:
            with self._ring_lock:
                if self._ring is None:
                    return
                block = self._numbering.number(self._ring.read(POLL_MS))
            yield block

    def stack(self, number: int) -> tuple[str, ...]:
        """Frames of a record's stack."""
        return self._named.frames(number) if self._named else ()

    def _make_stacks(self, handover: Handover) -> Stacks:
        hooked = {name for probe in handover.probes for name in re.findall(r"\w+", probe.symbol)}
        symbols = Symbols.read(self._host.proc / "kallsyms")
        return Stacks(lookup_in(handover.descriptors["stacks"]), symbols, hooked)

    def _known_baseline(self) -> Baseline | Absent:
        self._receive_baseline(0)
        return self._baseline

    def _receive_baseline(self, seconds: float) -> None:
        """Take the census from the loader, if it has one within so many seconds."""
        with self._loader_lock:
            if self._loader is None or self._baseline is not _PENDING:
                return
            baseline = self._loader.baseline(seconds)
            if baseline is None:
                return
            self._baseline, self._loader = baseline, None
        if isinstance(baseline, Absent):
            # No warning: commands that need no census would print it.
            log.info("no census of optimized huge pages: %s", baseline.reason)
        else:
            log.info("census: %d huge pages are optimized", sum(baseline.optimized.values()))

    def _memory_copy(self) -> bytes:
        """Copy the counter blocks of all CPUs; empty before ``start``."""
        with self._memory_lock:
            return self._memory[: self._layout.size] if self._memory else b""

    def _probes(self, memory: bytes) -> Probes:
        """Sum and decode the counter blocks of all CPUs."""
        if not memory:
            problem = self._handover.problem or "not started"
            return Probes(Counters(), Status(False, tuple(self._handover.probes), problem))
        block = self._layout.sum_blocks(memoryview(memory))
        attached, selected = self._attached(), {probe.step for probe in self._handover.probes}
        counters = self._layout.counters(
            block,
            observed_slots(attached, self._mode, selected),
            observed_durations(attached, self._mode, selected),
        )
        return Probes(counters, self._status(self._layout.diagnostics(block)))

    def _status(self, diagnostics: Mapping[str, int]) -> Status:
        probes = tuple(self._handover.probes)
        detached = [f"{p.step}: {p.reason}" for p in probes if not p.attached]
        return Status(
            ready=not detached,
            probes=probes,
            problem="; ".join(detached),
            missed=self._missed(diagnostics),
            map_errors={"operations": diagnostics["map_errors"]},
            lost={"ring": diagnostics["stream_lost"]} if self._stream else {},
        )

    def _missed(self, diagnostics: Mapping[str, int]) -> Mapping[str, int]:
        """Hits that the kernel dropped, by attached step; absent if they can't be counted."""
        handover, missed = self._handover, {}
        for step in sorted(self._attached(), key=STEPS.index):
            own = diagnostics.get(f"missed_{step}") if handover.sees_dropped_returns else None
            count = misses.missed_hits(step, handover.descriptors, own, self._host.proc)
            if count is not None:
                missed[step] = count
        return missed

    def _attached(self) -> frozenset[str]:
        return frozenset(p.step for p in self._handover.probes if p.attached)


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
