# SPDX-License-Identifier: Apache-2.0
"""Make observations: read each source of the kernel once, and what belongs together at one moment.

A part that can't be read fails by itself and costs no other part.
"""

import time
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from probes.drift import MOVING, Drift
from probes.observation import (
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

_TRIES = 5
"""Readings of the memmap, until the probes counted nothing meanwhile."""

Taken = TypeVar("Taken")
T = TypeVar("T")

MemmapPages = Mapping[str, int]
"""Frames that hold struct pages by allocator, ``boot`` and ``runtime``; empty: not counted."""


class HugetlbState(Protocol):
    """The kernel's own state: of the running kernel, or of a simulated one."""

    def pools(self) -> Pools:
        """Every pool count."""

    def switch(self) -> bool | Absent:
        """Whether HVO is switched on."""

    def memmap_pages(self) -> MemmapPages:
        """Frames that hold struct pages."""

    def saved_bytes(self, memmap_pages: MemmapPages) -> int | Absent:
        """What HVO saves on the whole machine while so many frames hold struct pages."""


class _Moment(NamedTuple):
    """Copies of the probes' counters and of the kernel's."""

    taken: Any
    """What ``take`` returned, or ``Failed``."""
    pages: MemmapPages | Failed
    together: bool
    """The probes counted nothing between the two."""


class Observer(Generic[Taken]):
    """Observes one set of probes and one kernel's state; from any thread."""

    def __init__(
        self,
        take: Callable[[], Taken],
        read: Callable[[Taken], Probes],
        state: HugetlbState,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing is read yet.

        ``take`` copies the probes' memory: where two copies are equal, nothing was counted between
        them. ``read`` decodes a copy. ``clock`` is in ns, ``timer`` in seconds.
        """
        self._take = take
        self._read = read
        self._state = state
        self._clock = clock
        self._timer = timer
        self._drift = Drift()

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Read these parts now. Raises nothing: a part that can't be read is ``Failed``."""
        time_ns = self._clock()
        moment = cache(self._moment)
        probes = cache(lambda: _attempt(lambda: self._read(_checked(moment().taken))))
        readers: dict[str, Callable[[], Any]] = {
            PROBES: probes,
            POOLS: self._state.pools,
            SWITCH: self._state.switch,
            MEMMAP: lambda: self._memmap(_checked(moment().pages)),
            DRIFT: lambda: self._drifted(_checked(probes()), moment()),
        }
        found, seconds = {}, {}
        for part in PARTS:
            if part in parts:
                begin = self._timer()
                found[part] = _attempt(readers[part])
                seconds[part] = self._timer() - begin
        return Observation(time_ns, **found, seconds=seconds)

    def _moment(self) -> _Moment:
        taken = _attempt(self._take)
        for _ in range(_TRIES):
            pages = _attempt(self._state.memmap_pages)
            again = _attempt(self._take)
            if again == taken:
                return _Moment(taken, pages, together=True)
            taken = again
        return _Moment(taken, pages, together=False)

    def _memmap(self, pages: MemmapPages) -> Memmap:
        return Memmap(pages, self._state.saved_bytes(pages))

    def _drifted(self, probes: Probes, moment: _Moment) -> int | Absent:
        pages = _checked(moment.pages)
        return self._drift.frames(probes.counters, pages) if moment.together else MOVING


class _ReadError(Exception):
    """Something that a part needs has failed."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.error)
        self.failed = failed


def _attempt(read: Callable[[], T]) -> T | Failed:
    """Read; whatever goes wrong costs this part only."""
    try:
        return read()
    except _ReadError as error:
        return error.failed
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}")


def _checked(value: T | Failed) -> T:
    if isinstance(value, Failed):
        raise _ReadError(value)
    return value
