# SPDX-License-Identifier: Apache-2.0
"""Create observations: read each source once, and counters and memmap at the same moment.

A part that can't be read is ``Failed``; the other parts are not affected.
"""

import time
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from probes.baseline import Baseline, optimized_now
from probes.drift import COUNTERS_CHANGING, Drift
from probes.observation import (
    CENSUS,
    DRIFT,
    MEMMAP,
    PARTS,
    POOLS,
    PROBES,
    SWITCH,
    Absent,
    Failed,
    Memmap,
    Observation,
    Pools,
    Probes,
)

_MAX_ATTEMPTS = 5
"""How often the memmap is read at most, until the counters are equal before and after."""

Raw = TypeVar("Raw")
T = TypeVar("T")

MemmapPages = Mapping[str, int]
"""Frames of struct pages by allocator, ``boot`` and ``runtime``; empty if not counted."""


class HugetlbState(Protocol):
    """The HugeTLB state of the running kernel, or of a simulated one."""

    def pools(self) -> Pools:
        """All pool counts."""

    def switch(self) -> bool | Absent:
        """Whether HVO is switched on."""

    def memmap_pages(self) -> MemmapPages:
        """Frames of struct pages."""

    def saved_bytes(self, memmap_pages: MemmapPages) -> int | Absent:
        """Bytes that HVO saves on the whole machine, given its frames of struct pages."""


class _Reading(NamedTuple):
    """Copies of the probes' counters and of the kernel's memmap counters."""

    raw: Any
    """What ``copy`` returned, or ``Failed``."""
    pages: MemmapPages | Failed
    consistent: bool
    """The probes counted nothing between the two."""


class Observer(Generic[Raw]):
    """Observes one set of probes and one kernel's state; thread-safe."""

    def __init__(
        self,
        copy: Callable[[], Raw],
        decode: Callable[[Raw], Probes],
        state: HugetlbState,
        baseline: Callable[[], Baseline | Absent],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Read nothing yet.

        ``copy`` copies the probes' memory; two equal copies mean that nothing was counted between
        them. ``decode`` decodes a copy. ``baseline`` is what was optimized at the attach, by a
        census. ``clock`` is in ns, ``timer`` in seconds.
        """
        self._copy = copy
        self._decode = decode
        self._state = state
        self._baseline = baseline
        self._clock = clock
        self._timer = timer
        self._drift = Drift()

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Read these parts now. Never raises: a part that can't be read is ``Failed``."""
        time_ns = self._clock()
        memmap = MEMMAP in parts or DRIFT in parts
        reading = cache(self._read if memmap else self._read_probes)
        probes = cache(lambda: _attempt(lambda: self._decode(_checked(reading().raw))))
        readers: dict[str, Callable[[], Any]] = {
            PROBES: probes,
            POOLS: self._state.pools,
            SWITCH: self._state.switch,
            CENSUS: lambda: optimized_now(self._baseline(), _checked(probes())),
            MEMMAP: lambda: self._memmap(_checked(reading().pages)),
            DRIFT: lambda: self._drift_frames(_checked(probes()), reading()),
        }
        found, seconds = {}, {}
        for part in PARTS:
            if part in parts:
                begin = self._timer()
                found[part] = _attempt(readers[part])
                seconds[part] = self._timer() - begin
        return Observation(time_ns, **found, seconds=seconds)

    def _read_probes(self) -> _Reading:
        """For readiness and the like: no file of the kernel is read."""
        return _Reading(_attempt(self._copy), {}, consistent=True)

    def _read(self) -> _Reading:
        before = _attempt(self._copy)
        for _ in range(_MAX_ATTEMPTS):
            pages = _attempt(self._state.memmap_pages)
            after = _attempt(self._copy)
            if after == before:
                return _Reading(before, pages, consistent=True)
            before = after
        return _Reading(before, pages, consistent=False)

    def _memmap(self, pages: MemmapPages) -> Memmap:
        return Memmap(pages, self._state.saved_bytes(pages))

    def _drift_frames(self, probes: Probes, reading: _Reading) -> int | Absent:
        pages = _checked(reading.pages)
        if not reading.consistent:
            return COUNTERS_CHANGING
        drift = self._drift.frames(probes.counters, pages)
        baseline = self._baseline()
        if pages or isinstance(baseline, Absent) or baseline.drift is None:
            return drift
        return baseline.drift


class _ReadError(Exception):
    """An input of a part has failed."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.error)
        self.failed = failed


def _attempt(read: Callable[[], T]) -> T | Failed:
    """Return what ``read`` returns, or ``Failed`` with its error."""
    try:
        return read()
    except _ReadError as error:
        return error.failed
    except Exception as error:  # a bug in one part costs no other part
        return Failed(f"{type(error).__name__}: {error}")


def _checked(value: T | Failed) -> T:
    if isinstance(value, Failed):
        raise _ReadError(value)
    return value
