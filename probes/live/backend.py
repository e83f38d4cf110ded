# SPDX-License-Identifier: Apache-2.0
"""The live backend: the daemon's side. It maps what the loader attached and only ever reads."""

import logging
import mmap
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from probes.backend import FULL, STEPS, BackendError, Info
from probes.bpf import misses
from probes.bpf.handover import AUTO, Handover, Request
from probes.bpf.layout import Layout
from probes.bpf.program_cache import DEFAULT_FOLDER
from probes.bpf.ring import POLL_MS, RingReader
from probes.counters import Counters
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState
from probes.live.loader_process import LoaderProcess
from probes.live.numbering import Numbering
from probes.observation import DRIFT, PARTS, Observation, Probes, ProbeStatus, Status
from probes.observed import observed_durations, observed_slots
from probes.observer import HugetlbState, Observer

log = logging.getLogger("hvoscope")


class LiveBackend:
    """Counts and streams what the running kernel does (``probes.backend.Backend``)."""

    def __init__(
        self,
        host: Host | None = None,
        *,
        mode: str = FULL,
        attach: str = AUTO,
        stream: bool = False,
        cache: Path | None = DEFAULT_FOLDER,
        state: HugetlbState | None = None,
    ) -> None:
        """Nothing is read or started yet.

        ``mode`` is one of ``plan.MODES``, ``attach`` one of ``handover.ATTACHES``. ``stream`` asks
        for the event stream beside the counters. ``cache`` is the folder of compiled programs,
        None for none. ``state`` is the kernel's own, by default that of ``host``.
        """
        self._host = host or Host()
        self._mode = mode
        self._attach = attach
        self._stream = stream
        self._cache = cache
        self._loader: LoaderProcess | None = None
        self._handover = Handover()
        self._memory: mmap.mmap | None = None
        self._layout = Layout((), 0, 0)
        self._ring: RingReader | None = None
        self._numbering = Numbering()
        self._observer = Observer(self._memory_copy, self._probes, state or KernelState(self._host))
        # Scrapes and the stream's consumer run in threads of their own; what they read must not
        # be unmapped under them. Two locks, since the consumer waits with its own.
        self._memory_lock = threading.Lock()
        self._ring_lock = threading.Lock()

    @property
    def info(self) -> Info:
        """Name, running kernel and probe mode."""
        return Info("bcc", self._host.release, self._mode, os.sysconf("SC_PAGE_SIZE"))

    def prepare(self) -> None:
        """Start the loader, which alone needs a privilege; it waits until ``start``."""
        if self._loader is None:
            try:
                self._loader = LoaderProcess()
            except OSError as error:
                self._handover = Handover(problem=f"the loader can't be run: {error}")

    def start(self) -> None:
        """Have the loader attach, and map what it hands over. Raises ``BackendError``."""
        self.prepare()
        loader, self._loader = self._loader, None
        if loader is not None:
            self._handover = self._ask(loader)
        handover = self._handover
        if handover.origin:
            log.info("probes: %s", handover.origin)
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
                self._numbering = Numbering()
        except OSError as error:
            self.stop()
            raise BackendError(f"the counters can't be mapped ({error})") from error
        self.observe((DRIFT,))  # counted from now on

    def _ask(self, loader: LoaderProcess) -> Handover:
        try:
            return loader.ask(
                Request.of(
                    self._host,
                    mode=self._mode,
                    attach=self._attach,
                    stream=self._stream,
                    cache=self._cache,
                )
            )
        except (BackendError, OSError) as error:
            return Handover(problem=str(error))

    def stop(self) -> None:
        """Unmap and close; the kernel then removes the probes."""
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
        """Counters since ``start``; ready when the probe of every step is attached."""
        return self._observer.observe(parts)

    def records(self) -> Iterator[bytes]:
        """Blocks of event records until ``stop``; an empty one after a quiet tenth of a second.

        An operation's come when it has ended, or when there are 16 of them.
        """
        if not self._stream:
            raise BackendError("this backend was made without an event stream")
        while True:
            with self._ring_lock:
                if self._ring is None:
                    return
                block = self._numbering.number(self._ring.read(POLL_MS))
            yield block

    def _memory_copy(self) -> bytes:
        """Every CPU's block; empty before ``start``."""
        with self._memory_lock:
            return self._memory[: self._layout.size] if self._memory else b""

    def _probes(self, memory: bytes) -> Probes:
        """Sum the CPUs' blocks, once."""
        if not memory:
            problem = self._handover.problem or "not started"
            return Probes(Counters(), Status(False, tuple(self._handover.probes), problem))
        block = self._layout.sum_blocks(memoryview(memory))
        attached, planned = self._attached(), {probe.step for probe in self._handover.probes}
        counters = self._layout.counters(
            block,
            observed_slots(attached, self._mode, planned),
            observed_durations(attached, self._mode, planned),
        )
        return Probes(counters, self._status(self._layout.diagnostics(block)))

    def _status(self, seen: Mapping[str, int]) -> Status:
        probes = tuple(self._handover.probes)
        detached = [f"{p.step}: {p.reason}" for p in probes if not p.attached]
        return Status(
            ready=not detached,
            probes=probes,
            problem="; ".join(detached),
            missed=self._missed(seen),
            map_errors={"operations": seen["map_errors"]},
            lost={"ring": seen["stream_lost"]} if self._stream else {},
        )

    def _missed(self, seen: Mapping[str, int]) -> Mapping[str, int]:
        """Hits that the kernel dropped, of the attached steps where something counts them."""
        handover, missed = self._handover, {}
        for step in sorted(self._attached(), key=STEPS.index):
            own = seen.get(f"missed_{step}") if handover.sees_dropped_returns else None
            count = misses.of_step(step, handover.descriptors, own, self._host.proc)
            if count is not None:
                missed[step] = count
        return missed

    def _attached(self) -> frozenset[str]:
        return frozenset(p.step for p in self._handover.probes if p.attached)


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
