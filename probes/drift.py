# SPDX-License-Identifier: Apache-2.0
"""The probes' count held against the kernel's own accounting.

A frame that HVO frees leaves the memmap. So net frames freed plus memmap frames is constant, unless
a probe missed something or something else changes the memmap (memory hotplug, device memory).
"""

from collections.abc import Mapping
from typing import NamedTuple

from probes.counters import Counters
from probes.observation import Absent

MOVING = Absent("the counters change faster than they can be compared with the kernel's")
_NO_COUNTS = Absent("the probes do not count frames freed and allocated")
_NO_MEMMAP = Absent("the kernel does not count memmap frames (nr_memmap_pages, Linux 6.11)")


class _Sum(NamedTuple):
    """Net frames freed plus memmap frames, and the epoch of the counters."""

    epoch: int
    frames: int


class Drift:
    """The change of that constant since it was first seen."""

    def __init__(self) -> None:
        """The first call of ``frames`` with values is the baseline."""
        self._baseline: _Sum | None = None

    def frames(self, counters: Counters, memmap: Mapping[str, int]) -> int | Absent:
        """Net frames freed that the kernel does not account for; 0 is right.

        ``counters`` and ``memmap`` (frames by allocator) are of the same moment. Not 0 during a
        batch, whose frames are freed at its end (Linux 6.7). Where the counters began again at 0
        (another epoch), so does the drift.
        """
        freed = net_freed(counters)
        if freed is None:
            return _NO_COUNTS
        if set(memmap) != {"boot", "runtime"}:
            return _NO_MEMMAP
        now = _Sum(counters.epoch, freed + sum(memmap.values()))
        if self._baseline is None or self._baseline.epoch != now.epoch:
            self._baseline = now
        return now.frames - self._baseline.frames


def net_freed(counters: Counters) -> int | None:
    """Frames freed less frames allocated; None unless all of them are counted."""
    freed = counters.total("frames_freed")
    head = counters.total("frames_allocated", "head")
    restored = counters.total("frames_allocated", "restore")
    if freed is None or head is None or restored is None:
        return None
    return freed - head - restored
