# SPDX-License-Identifier: Apache-2.0
"""Accounting drift: the difference between the probes' counts and the kernel's memmap counters.

A frame that HVO frees leaves the memmap, so net frames freed plus memmap frames is constant. The
sum changes only if a probe missed an event, or if memory hotplug or device memory changes the
memmap.
"""

from collections.abc import Mapping
from typing import NamedTuple

from probes.counters import Counters
from probes.observation import Absent

COUNTERS_CHANGING = Absent(
    "the counters changed during every attempt to read them together with the kernel's"
)
_NO_COUNTS = Absent("the probes do not count frames freed and allocated")
_NO_MEMMAP = Absent("the kernel does not count memmap frames (nr_memmap_pages, Linux 6.11)")


class _Sum(NamedTuple):
    """Net frames freed plus memmap frames, and the epoch of the counters."""

    epoch: int
    frames: int


class Drift:
    """Change of that sum since the baseline."""

    def __init__(self) -> None:
        """Start without a baseline; the first call of ``frames`` that has values sets it."""
        self._baseline: _Sum | None = None

    def frames(self, counters: Counters, memmap: Mapping[str, int]) -> int | Absent:
        """Net frames freed that the kernel does not account for; 0 if both agree.

        ``counters`` and ``memmap`` (frames by allocator) must be of the same moment. The drift is
        not 0 during a batch, because its frames are freed at its end (Linux 6.7). A new epoch of
        the counters sets a new baseline.
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
    """Frames freed minus frames allocated; None if any of these is not counted."""
    freed = counters.total("frames_freed")
    head = counters.total("frames_allocated", "head")
    restored = counters.total("frames_allocated", "restore")
    if freed is None or head is None or restored is None:
        return None
    return freed - head - restored
