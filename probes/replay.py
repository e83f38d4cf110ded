# SPDX-License-Identifier: Apache-2.0
"""``ReplayBackend``: a recorded trace behind the same face as the kernel that it was taken from."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from math import inf
from pathlib import Path

from probes.accounting import Pool
from probes.backend import BackendError, Info, Status
from probes.counters import Counters
from probes.snapshot import Snapshot
from probes.trace_file import Block, Header, TraceFileError, TraceReader

log = logging.getLogger("hvoscope")

Wait = Callable[[threading.Event, float], object]
"""Waits until the event is set, or so many seconds have passed."""

REAL_TIME = 1.0
AT_ONCE = inf
"""Speeds: recorded seconds per second; the latter waits for nothing."""

_QUIET_SECONDS = 0.5
_HOLD_SECONDS = 0.5
"""How long the first snapshot stays, for those who measure from it (``accounting.Drift``)."""


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
    """A ``probes.backend.Backend`` and a ``probes.accounting.State``, both of one trace.

    Counters, status and state are those of the latest snapshot: what the recorded backend said at
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
        self._now: Snapshot | None = None
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
        return Info("replay", header.kernel, header.mode, header.page_size)

    def prepare(self) -> None:
        """Nothing: a recording needs no privilege."""

    def start(self) -> None:
        """Show how things stood at first, and begin to play. Raises ``BackendError``."""
        self._first = self._next_block()
        if self._first is None:
            raise BackendError(self.missing or f"{self._path}: the recording is empty")
        self._now = self._first.snapshot
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

    def counters(self) -> Counters:
        """As they were at the latest snapshot; empty before ``start``."""
        return self._now.counters if self._now else Counters()

    def records(self) -> Iterator[bytes]:
        """Blocks of records in their time, until the end of the trace or ``stop``."""
        if not self._stream:
            raise BackendError("no event stream: make the backend with stream=True")
        return self._play()

    def status(self) -> Status:
        """As it was at the latest snapshot; not ready if the file turns out to be damaged."""
        if self._problem or self._now is None:
            return Status(ready=False, problem=self._problem)
        return self._now.status

    def pools(self) -> Iterator[Pool]:
        """As they were."""
        return iter(self._now.pools if self._now else ())

    def enabled(self) -> bool | None:
        """As it was; None also where the recorder could not see it."""
        return self._now.enabled if self._now else None

    def memmap_pages(self) -> Mapping[str, int]:
        """As they were."""
        return self._now.memmap_pages if self._now else {}

    def reserved(self) -> Mapping[int, int]:
        """As they were."""
        return self._now.reserved if self._now else {}

    def overcommit(self) -> Mapping[int, int]:
        """As it was."""
        return self._now.overcommit if self._now else {}

    def saved_bytes(self) -> int | None:
        """As it was; None also where the recorder could not know it."""
        return self._now.saved_bytes if self._now else None

    def _run(self) -> None:
        self._wait(self._stopping, _HOLD_SECONDS)
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
        began, origin = self._clock(), block.snapshot.time_ns
        while block is not None:
            passed = (block.snapshot.time_ns - origin) / 1e9
            yield from self._until(began + passed / self._speed)
            if self._stopping.is_set():
                return
            self._now = block.snapshot
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
