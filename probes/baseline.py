# SPDX-License-Identifier: Apache-2.0
"""Huge pages whose vmemmap is optimized now: those at a baseline, and what the probes count.

A census gives the baseline (``probes.census``). From there, each optimization that succeeds adds a
page and each restore takes one away, so the sum stays exact without any privilege.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.counters import Counters, PageKey, Slot
from probes.observation import Absent, Census, Probes, Status

OPTIMIZED, RESTORED = Slot("hugepages_optimized"), Slot("hugepages_restored")
_FREED = Slot("frames_freed")
_HEAD = Slot("frames_allocated", "head")
_NO_PAGES = Absent("the probes do not count huge pages optimized and restored")
_NOT_COUNTING = ("batch",)
"""Steps whose hits change no count of pages."""


@dataclass(frozen=True)
class Baseline:
    """What was optimized when the probes were attached."""

    optimized: Mapping[PageKey, int]
    frames_each: Mapping[int, int]
    """Net vmemmap frames that an optimized page saves, by page order; absent if not known."""
    taken: float | None = None
    """Unix time of the census in seconds; None for a simulated kernel."""
    drift: int | None = None
    """Frames by which the count differed from the census; None if it is the first one."""
    dropped: int = 0
    """Dropped hits before the census, which counts what they should have."""


def optimized_now(baseline: Baseline | Absent, probes: Probes) -> Census | Absent:
    """Bring the baseline up to date with the probes' counters."""
    if isinstance(baseline, Absent):
        return baseline
    counters = probes.counters
    if counters.total(*OPTIMIZED) is None or counters.total(*RESTORED) is None:
        return _NO_PAGES
    if dropped := dropped_hits(probes.status) - baseline.dropped:
        return Absent(f"{dropped} probe hits since the census were not counted")
    keys = {key for slot, key in counters.totals if slot == OPTIMIZED} | baseline.optimized.keys()
    optimized = {key: baseline.optimized.get(key, 0) + net_optimized(counters, key) for key in keys}
    return Census(dict(sorted(optimized.items())), _frames_each(baseline, counters), baseline.taken)


def net_optimized(counters: Counters, key: PageKey) -> int:
    """Pages optimized less pages restored since the probes were attached."""
    return counters.totals.get((OPTIMIZED, key), 0) - counters.totals.get((RESTORED, key), 0)


def dropped_hits(status: Status) -> int:
    """Hits that may have been an operation which the counters lack."""
    missed = sum(n for step, n in status.missed.items() if step not in _NOT_COUNTING)
    return missed + sum(status.map_errors.values())


def _frames_each(baseline: Baseline, counters: Counters) -> Mapping[int, int]:
    """What the kernel's facts say; for other orders, what the probes saw."""
    seen = {}
    for order in {key.order for _, key in counters.totals}:
        pages, freed, head = (
            sum(n for (slot, key), n in counters.totals.items() if (slot, key.order) == (s, order))
            for s in (OPTIMIZED, _FREED, _HEAD)
        )
        if pages and (freed - head) % pages == 0:
            seen[order] = (freed - head) // pages
    return {**seen, **baseline.frames_each}
