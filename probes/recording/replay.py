# SPDX-License-Identifier: Apache-2.0
"""``ReplayBackend``: a recorded trace behind the same face as the kernel that it was taken from."""

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
"""Waits until the event is set, or so many seconds have passed."""

REAL_TIME = 1.0
AT_ONCE = inf
"""Speeds: recorded seconds per second; the latter waits for nothing."""

_QUIET_SECONDS = 0.5


def parse_speed(text: str) -> float:
    """Read ``real``, ``x10`` or ``max``. Raises ``ValueError``."""
    if text in ("real", "max"):
        return REAL_TIME if text == "real" else AT_ONCE
    factor = text.removeprefix("x")
    try:
        speed = float(factor)
    except ValueError:
        speed = 0.0
    if factor == text or not 0 < speed < inf:
        raise ValueError(f"not a speed: {text!r} (write real, max, or xN like x10 or x0.5)")
    return speed


class ReplayBackend:
    """A ``probes.backend.Backend`` of a trace.

    What it observes is the latest observation in the recording: what the recorded backend saw at
    that moment, losses and what it could not see included.
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

        With ``stream`` the trace plays as fast as ``records`` is read, and no faster than
        ``speed``; without, a thread plays it. It plays once.
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
        self._began: float | None = None
        self._problem = "not started"
        self._stopping = threading.Event()
        self._reading = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def header(self) -> Header:
        """Where the trace comes from."""
        return self._reader.header

    @property
    def missing(self) -> str:
        """What a recording that was cut short lacks, one line; known once it has been played."""
        return self._reader.missing

    @property
    def info(self) -> Info:
        """``replay``, and the kernel, mode and page size of the recording."""
        header = self.header
        about = f"replay of {self._path}: {header.about()}"
        return Info("replay", header.kernel, header.mode, header.page_size, about)

    def prepare(self) -> None:
        """Nothing: a recording needs no privilege."""

    def start(self) -> None:
        """Show how things stood at first, and begin to play. Raises ``BackendError``."""
        self._first = self._next_block()
        if self._first is None:
            raise BackendError(self.missing or f"{self._path}: the recording is empty")
        self._now = self._first.observation
        self._problem = ""
        if not self._stream:
            self._thread = threading.Thread(target=self._run, name="hvoscope-replay", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the replay and close the file."""
        self._stopping.set()
        # A signal may have broken off start() before it came to start the thread.
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._thread = None
        with self._reading:
            self._reader.close()

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """The latest recorded one, at the recorded time that the replay has reached."""
        seen = self._now or Observation(0)
        if self._problem:
            probes = Probes(seen.counters, Status(ready=False, problem=self._problem))
            seen = replace(seen, probes=probes)
        at, took = self._time_ns(seen.time_ns), dict.fromkeys(parts, 0.0)
        return replace(seen, time_ns=at, seconds=took).only(parts)

    def _time_ns(self, latest: int) -> int:
        """CLOCK_MONOTONIC of the recording; at no finite speed, that of its latest part."""
        if self._first is None or self._began is None or self._speed == AT_ONCE:
            return latest
        played = (self._clock() - self._began) * self._speed
        return max(latest, self._first.observation.time_ns + int(played * 1e9))

    def records(self) -> Iterator[bytes]:
        """Blocks of records in their time, until the end of the trace or ``stop``."""
        if not self._stream:
            raise BackendError("no event stream: make the backend with stream=True")
        return self._play()

    def _run(self) -> None:
        try:
            for _ in self._play():
                pass
        except TraceFileError as error:
            self._problem = str(error)
            log.error("the replay broke off: %s", error)
            return
        if not self._stopping.is_set():
            log.info("the replay is over: what is served now is how things stood at its end")
            if self.missing:
                log.warning("%s", self.missing)

    def _play(self) -> Iterator[bytes]:
        block = self._first
        if block is None:
            return
        self._began = began = self._clock()
        origin = block.observation.time_ns
        while block is not None:
            passed = (block.observation.time_ns - origin) / 1e9
            yield from self._until(began + passed / self._speed)
            if self._stopping.is_set():
                return
            self._now = block.observation
            if block.records:
                yield block.records
            block = self._next_block()

    def _until(self, due: float) -> Iterator[bytes]:
        """Wait, with an empty block now and then."""
        while (left := due - self._clock()) > 0 and not self._stopping.is_set():
            self._wait(self._stopping, min(left, _QUIET_SECONDS))
            if left > _QUIET_SECONDS:
                yield b""

    def _next_block(self) -> Block | None:
        with self._reading:
            return None if self._stopping.is_set() else next(self._blocks, None)
