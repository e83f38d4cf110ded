# SPDX-License-Identifier: Apache-2.0
"""Records the event stream and observations of a backend to a trace file."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import BinaryIO

from probes.backend import Backend, Start
from probes.events import RECORD, VERSION, WITH_STACKS
from probes.kernel.host import Host, online_nodes, possible_cpus
from probes.observation import PROBES, Observation
from probes.recording.pump import Pump
from probes.recording.stack_numbers import stack_numbers
from probes.recording.trace_file import BLOCK_RECORDS, Header, TraceWriter

_BLOCK_BYTES = BLOCK_RECORDS * RECORD.size
_FLUSH_SECONDS = 0.25
"""Flush interval: the most a killed recorder loses. A replay delivers each flush at once."""
_OBSERVE_SECONDS = 1.0
"""Observation interval; an observation of a large machine takes tens of ms."""
_WAIT_SECONDS = 0.05
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """Limits at which a recording stops; None means no limit."""

    seconds: float | None = None
    events: int | None = None


@dataclass(frozen=True)
class Report:
    """Progress of a recording."""

    seconds: float
    events: int
    bytes: int
    lost: int
    """Records that the backend dropped."""


def make_header(backend: Backend, host: Host) -> Header:
    """Describe a started backend. The header has no host identifiers."""
    info = backend.info
    start = info.start or Start.now()
    simulated = info.mode == "simulated"
    return Header(
        backend=info.backend,
        kernel=info.kernel,
        mode=info.mode,
        page_size=info.page_size,
        monotonic_ns=start.monotonic_ns,
        wall_ns=start.wall_ns,
        events_ns=start.events_ns,
        generation=info.kernel if simulated else "",
        machine="" if simulated else host.machine,
        cpus=0 if simulated else len(possible_cpus(host)),
        nodes=() if simulated else online_nodes(host),
        probes=backend.observe((PROBES,)).status.probes,
        hvoscope=version("hvoscope"),
        event_version=WITH_STACKS if info.stacks else VERSION,
    )


class Recorder:
    """One recording of a started backend; stops the backend at the end."""

    def __init__(
        self,
        backend: Backend,
        file: BinaryIO,
        header: Header,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Write the header and a first observation. ``clock`` is in ns. Raises ``OSError``."""
        self._backend = backend
        self._clock = clock
        self._started = clock()
        self._writer = TraceWriter(file, header)
        self._last = self._observe()
        self._writer.write(self._last, b"")
        self._pending = bytearray()
        self._stacks: set[int] = set()
        """Numbers of those that are written."""

    @property
    def report(self) -> Report:
        """Progress of what is written to the file."""
        lost = sum(self._last.status.lost.values())
        return Report(self._seconds(), self._writer.events, self._writer.bytes, lost)

    def run(self, limits: Limits, stop: threading.Event, show: Callable[[Report], object]) -> None:
        """Record until ``stop``, a limit, or the end of the stream.

        Raises ``OSError`` if a write fails; the file is valid up to that point.
        """
        pump = Pump(self._backend)
        try:
            flushed = observed = 0.0
            while not (reason := self._end_reason(limits, stop, pump)):
                self._pending += pump.take(_WAIT_SECONDS)
                now = self._seconds()
                if now - observed >= _OBSERVE_SECONDS:
                    self._flush(self._observe(), limits)
                    flushed = observed = now
                    show(self.report)
                elif len(self._pending) >= _BLOCK_BYTES or now - flushed >= _FLUSH_SECONDS:
                    self._flush(replace(self._last, time_ns=self._clock()), limits)
                    flushed = now
                    show(self.report)
            enough = limits.events is not None and self._received() >= limits.events
            last = self._observe() if enough else self._settle(pump)
            self._flush(last, limits)
            self._backend.stop()
            self._writer.finish(reason)
            show(self.report)
        finally:
            pump.close()
            self._backend.stop()

    def _end_reason(self, limits: Limits, stop: threading.Event, pump: Pump) -> str:
        if stop.is_set():
            return "interrupted"
        if limits.events is not None and self._received() >= limits.events:
            return f"{limits.events} events"
        if limits.seconds is not None and self._seconds() >= limits.seconds:
            return f"{limits.seconds:g} seconds"
        return "the stream ended" if pump.ended else ""

    def _settle(self, pump: Pump) -> Observation:
        """Return a last observation whose counters match exactly the recorded events.

        Gives up after ``_SETTLE_SECONDS`` if the kernel is never idle; events may then be missing.
        """
        until = self._seconds() + _SETTLE_SECONDS
        while True:
            before = self._backend.observe((PROBES,)).counters
            pump.quiet()
            while not (pump.quiet() or pump.ended or self._seconds() > until):
                self._pending += pump.take(_WAIT_SECONDS)
            while self._seconds() <= until and (records := pump.take(0)):
                self._pending += records
            last = self._observe()
            if last.counters == before or self._seconds() > until:
                return last

    def _flush(self, now: Observation, limits: Limits) -> None:
        if limits.events is not None:
            del self._pending[(limits.events - self._writer.events) * RECORD.size :]
        for at in range(0, len(self._pending), _BLOCK_BYTES):
            records = bytes(self._pending[at : at + _BLOCK_BYTES])
            self._writer.write(now, records, self._new_stacks(records))
        if not self._pending and replace(now, time_ns=0) != replace(self._last, time_ns=0):
            self._writer.write(now, b"")
        self._pending.clear()
        self._last = now

    def _new_stacks(self, records: bytes) -> dict[int, tuple[str, ...]]:
        if not self._backend.info.stacks:
            return {}
        new = stack_numbers(records) - self._stacks
        self._stacks |= new
        return {number: self._backend.stack(number) for number in sorted(new)}

    def _observe(self) -> Observation:
        return replace(self._backend.observe(), time_ns=self._clock())

    def _received(self) -> int:
        return self._writer.events + len(self._pending) // RECORD.size

    def _seconds(self) -> float:
        return (self._clock() - self._started) / 1e9
