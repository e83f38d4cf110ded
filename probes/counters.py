# SPDX-License-Identifier: Apache-2.0
"""Counter totals and duration histograms, and the reduction of events to them.

The live backend keeps the same slots in per-CPU BPF arrays (the C enumerators are generated from
``SLOTS``); simulation and replay use ``reduce``. Invariant: reduce(all events) == counters.
A total that can't be observed is absent from the mapping, never 0.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from errno import ENOMEM
from functools import cached_property
from typing import NamedTuple

from probes.events import Event, Kind, Reason

ENOTSUPP = 524
"""The kernel's internal errno for 'not supported' (include/linux/errno.h), not in user space."""

ERRNO_UNKNOWN = 4095
"""Marks a failure whose errno was not read: MAX_ERRNO (include/linux/err.h), used by no error."""

ERROR_NAMES: Mapping[int, str] = {
    ENOMEM: "ENOMEM",
    ENOTSUPP: "ENOTSUPP",
    ERRNO_UNKNOWN: "unknown",
}


class Slot(NamedTuple):
    """One counter: a family, and a detail within it (an errno, a reason or a cause)."""

    family: str
    detail: str = ""


SLOTS: tuple[Slot, ...] = (
    Slot("optimize_calls"),
    Slot("hugepages_optimized"),
    Slot("hugepages_skipped", "off"),
    Slot("hugepages_skipped", "unsupported"),
    Slot("hugepages_skipped", "other"),
    Slot("hugepages_skipped", "unknown"),
    Slot("optimize_failures", "ENOMEM"),
    Slot("optimize_failures", "ENOTSUPP"),
    Slot("optimize_failures", "other"),
    Slot("optimize_failures", "unknown"),
    Slot("ptes_remapped"),
    Slot("frames_freed"),
    Slot("frames_allocated", "head"),
    Slot("frames_allocated", "restore"),
    Slot("hugepages_restored"),
    Slot("ptes_restored"),
    Slot("restore_failures", "ENOMEM"),
    Slot("restore_failures", "other"),
)
"""Counters per huge page size and NUMA node, in the order of the BPF array."""

PAGE_DURATIONS: tuple[str, ...] = ("optimize", "restore")
DURATIONS: tuple[str, ...] = (*PAGE_DURATIONS, "batch")
"""Histograms per huge page size. Only calls that did some work, or failed, are timed: a call with
nothing to do (a skip, or a page that was never optimized) returns at once and would bias them."""

BUCKETS_NS: tuple[int, ...] = (
    *(digit * 10**power for power in range(3, 9) for digit in (1, 2, 5)),
    10**9,
)
"""Upper bounds in ns: 1 us to 1 s, as 1-2-5 per decade. A 2 MB page takes 4 to 32 us (cover letter
of patch v17); a 1 GB page has 512 times as many PTEs. Longer durations are counted in +Inf."""


class PageKey(NamedTuple):
    """Huge page size as a page order, and the NUMA node of the page."""

    order: int
    node: int


@dataclass(frozen=True)
class Histogram:
    """Counts per bucket, not cumulative; the last bucket is +Inf."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS_NS) + 1)
    sum_ns: int = 0


@dataclass(frozen=True)
class Counters:
    """Counts since the backend started; keys that can't be observed are absent."""

    totals: Mapping[tuple[Slot, PageKey], int] = field(default_factory=dict)
    durations: Mapping[tuple[str, int], Histogram] = field(default_factory=dict)
    """Keyed by one of ``DURATIONS`` and the page order."""
    epoch: int = field(default=0, compare=False)
    """Changes when the counters are reset to 0 because the probes were attached again."""

    def total(self, family: str, detail: str = "") -> int | None:
        """Sum over sizes and nodes; None if the counter is not observed."""
        return self._by_slot.get(Slot(family, detail))

    def sum(self, slots: Iterable[Slot], key: PageKey | None = None) -> int | None:
        """Sum of ``slots``, for ``key`` or over all keys; None if any of them is not observed."""
        values = [
            self._by_slot.get(slot) if key is None else self.totals.get((slot, key))
            for slot in slots
        ]
        observed = [value for value in values if value is not None]
        return sum(observed) if len(observed) == len(values) else None

    @cached_property
    def _by_slot(self) -> Mapping[Slot, int]:
        """Sum of each slot over all page keys."""
        sums: dict[Slot, int] = {}
        for (slot, _), value in self.totals.items():
            sums[slot] = sums.get(slot, 0) + value
        return sums


def bucket_of(duration_ns: int) -> int:
    """Index into ``Histogram.counts`` of the first bound that is >= the duration (``le``)."""
    return bisect_left(BUCKETS_NS, duration_ns)


def reduce(
    events: Iterable[Event],
    keys: Iterable[PageKey] = (),
    durations: Iterable[str] = PAGE_DURATIONS,
) -> Counters:
    """Count ``events``. ``keys`` and ``durations`` are present as zeros even without events."""
    reducer = Reducer(keys, durations)
    reducer.add(events)
    return reducer.snapshot()


class Reducer:
    """Incremental ``reduce``, for a stream of events."""

    def __init__(
        self, keys: Iterable[PageKey] = (), durations: Iterable[str] = PAGE_DURATIONS
    ) -> None:
        """Include ``batch`` in ``durations`` for kernels that optimize lists (Linux 6.7)."""
        self._durations = tuple(durations)
        self._totals: dict[tuple[Slot, PageKey], int] = {}
        self._buckets: dict[tuple[str, int], list[int]] = {}
        self._sums: dict[tuple[str, int], int] = {}
        for key in keys:
            self._add_key(key)

    def add(self, events: Iterable[Event]) -> None:
        """Count more events; only enter and exit events affect the totals."""
        for event in events:
            if event.kind == Kind.OPTIMIZE_ENTER:
                self._count(event, "optimize_calls", "", 1)
            elif event.kind == Kind.OPTIMIZE_EXIT:
                self._optimize_exit(event)
            elif event.kind == Kind.RESTORE_EXIT:
                self._restore_exit(event)
            elif event.kind == Kind.BATCH_EXIT and event.ptes:
                self._time(event, "batch")

    def snapshot(self) -> Counters:
        """Return the current counters."""
        return Counters(
            dict(self._totals),
            {k: Histogram(tuple(v), self._sums[k]) for k, v in self._buckets.items()},
        )

    def _optimize_exit(self, event: Event) -> None:
        if event.ret < 0:
            error = ERROR_NAMES.get(-event.ret, "other")
            self._count(event, "optimize_failures", error, 1)
            self._time(event, "optimize")
        elif event.ptes == 0:
            reason = Reason(event.reason) or Reason.UNKNOWN
            self._count(event, "hugepages_skipped", reason.name.lower(), 1)
        else:
            self._count(event, "hugepages_optimized", "", 1)
            self._count(event, "ptes_remapped", "", event.ptes)
            self._count(event, "frames_freed", "", event.frames_freed)
            self._count(event, "frames_allocated", "head", event.frames_allocated)
            self._time(event, "optimize")

    def _restore_exit(self, event: Event) -> None:
        if event.ret < 0:
            error = "ENOMEM" if event.ret == -ENOMEM else "other"
            self._count(event, "restore_failures", error, 1)
            self._time(event, "restore")
        elif event.ptes:
            self._count(event, "hugepages_restored", "", 1)
            self._count(event, "ptes_restored", "", event.ptes)
            self._count(event, "frames_allocated", "restore", event.frames_allocated)
            self._time(event, "restore")

    def _add_key(self, key: PageKey) -> None:
        for slot in SLOTS:
            self._totals.setdefault((slot, key), 0)
        for direction in self._durations:
            self._add_duration(direction, key.order)

    def _add_duration(self, direction: str, order: int) -> None:
        self._buckets.setdefault((direction, order), [0] * (len(BUCKETS_NS) + 1))
        self._sums.setdefault((direction, order), 0)

    def _count(self, event: Event, family: str, detail: str, amount: int) -> None:
        key = PageKey(event.order, event.node)
        if (Slot(family, detail), key) not in self._totals:
            self._add_key(key)
        self._totals[Slot(family, detail), key] += amount

    def _time(self, event: Event, direction: str) -> None:
        self._add_duration(direction, event.order)
        self._buckets[direction, event.order][bucket_of(event.duration_ns)] += 1
        self._sums[direction, event.order] += event.duration_ns
