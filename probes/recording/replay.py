# SPDX-License-Identifier: Apache-2.0
"""``ReplayBackend``: a recorded trace with the same interface as a live kernel."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

from probes.backend import BackendError, Info
from probes.observation import PARTS, Observation, Probes, Status
from probes.recording.trace_file import Block, Header, TraceFileError, TraceReader

log = logging.getLogger("hvoscope")

Wait = Callable[[threading.Event, float], object]
"""Waits until the event is set, at most for the given number of seconds."""

REAL_TIME = 1.0
AT_ONCE = inf
"""Speeds in recorded seconds per second; ``AT_ONCE`` never waits."""

_QUIET_SECONDS = 0.5


def parse_speed(text: str) -> float:
    """Parse ``real``, ``x10`` or ``max``. Raises ``ValueError``."""
    if text in ("real", "max"):
        return REAL_TIME if text == "real" else AT_ONCE
    factor = text.removeprefix("x")
    try:
        speed = float(factor)
    except ValueError:
        speed = 0.0
    if factor == text or not 0 < speed < inf:
        raise ValueError(f"invalid speed {text!r} (expected real, max, x10, x0.5)")
    return speed


class ReplayBackend:
    """``probes.backend.Backend`` of a recorded trace.

    ``observe`` returns the latest observation that the replay has reached, including the recorded
    backend's lost events and unknown parts.
    """

    def __init__(
        self,
        path: Path,
        *,
        speed: float = REAL_TIME,
        stream: bool = False,
        wait: Wait = threading.Event.wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the trace at ``path``. Raises ``BackendError``.

        With ``stream`` the replay advances as ``records`` is read, at most at ``speed``; otherwise
        a thread advances it. A trace is replayed once.
        """
        self._reader = TraceReader.open(path)
        self._blocks = self._reader.blocks()
        self._path = path
        self._speed = speed
        self._stream = stream
        self._wait = wait
        self._clock = clock
        self._first: Block | None = None
        self._now: Observation | None = None
        self._started: float | None = None
        self._problem = "not started"
        self._stopping = threading.Event()
        self._reading = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def header(self) -> Header:
        """Header of the trace."""
        return self._reader.header

    @property
    def missing(self) -> str:
        """What is missing from a truncated recording, one line; set after it was replayed."""
        return self._reader.missing

    @property
    def info(self) -> Info:
        """``replay``, and the kernel, mode and page size of the recording."""
        header = self.header
        about = f"replay of {self._path}: {header.about()}"
        return Info("replay", header.kernel, header.mode, header.page_size, about)

    def prepare(self) -> None:
        """Do nothing: a replay needs no privileges."""

    def start(self) -> None:
        """Load the first observation and start the replay. Raises ``BackendError``."""
        self._first = self._next_block()
        if self._first is None:
            raise BackendError(self.missing or f"{self._path}: the recording is empty")
        self._now = self._first.observation
        self._problem = ""
        if not self._stream:
            self._thread = threading.Thread(target=self._run, name="hvoscope-replay", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the replay and close the file."""
        self._stopping.set()
        # A signal may have interrupted start() before it started the thread.
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._thread = None
        with self._reading:
            self._reader.close()

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Return the latest recorded observation, with the recorded time of the replay."""
        seen = self._now or Observation(0)
        if self._problem:
            probes = Probes(seen.counters, Status(ready=False, problem=self._problem))
            seen = replace(seen, probes=probes)
        at, took = self._time_ns(seen.time_ns), dict.fromkeys(parts, 0.0)
        return replace(seen, time_ns=at, seconds=took).only(parts)

    def _time_ns(self, latest: int) -> int:
        """CLOCK_MONOTONIC of the recording; with ``AT_ONCE``, that of the latest block."""
        if self._first is None or self._started is None or self._speed == AT_ONCE:
            return latest
        played = (self._clock() - self._started) * self._speed
        return max(latest, self._first.observation.time_ns + int(played * 1e9))

    def reload(self) -> None:
        """Nothing: a recording is complete."""

    def records(self) -> Iterator[bytes]:
        """Yield blocks of records at their recorded times, until the trace's end or ``stop``."""
        if not self._stream:
            raise BackendError("this backend has no event stream: create it with stream=True")
        return self._play()

    def _run(self) -> None:
        try:
            for _ in self._play():
                pass
        except TraceFileError as error:
            self._problem = str(error)
            log.error("the replay failed: %s", error)
            return
        if not self._stopping.is_set():
            log.info("the replay has ended: the last recorded state is served from now on")
            if self.missing:
                log.warning("%s", self.missing)

    def _play(self) -> Iterator[bytes]:
        block = self._first
        if block is None:
            return
        self._started = started = self._clock()
        origin = block.observation.time_ns
        while block is not None:
            passed = (block.observation.time_ns - origin) / 1e9
            yield from self._until(started + passed / self._speed)
            if self._stopping.is_set():
                return
            self._now = block.observation
            if block.records:
                yield block.records
            block = self._next_block()

    def _until(self, due: float) -> Iterator[bytes]:
        """Wait, yielding an empty block every ``_QUIET_SECONDS``."""
        while (left := due - self._clock()) > 0 and not self._stopping.is_set():
            self._wait(self._stopping, min(left, _QUIET_SECONDS))
            if left > _QUIET_SECONDS:
                yield b""

    def _next_block(self) -> Block | None:
        with self._reading:
            return None if self._stopping.is_set() else next(self._blocks, None)
