# SPDX-License-Identifier: Apache-2.0
"""Looks at a source, one after the other, and what can be told from two of them.

None is what could not be observed; it never becomes 0.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from probes.accounting import Drift, Pool, State
from probes.backend import Backend, Status
from probes.counters import BUCKETS_NS, Counters, Histogram, PageKey, Slot

KEEP = 240
"""Looks to keep: more than the widest trend shows."""


@dataclass(frozen=True)
class Look:
    """Everything there was to see at one moment."""

    at: float
    """Seconds of a monotonic clock."""
    counters: Counters
    status: Status
    pools: tuple[Pool, ...]
    enabled: bool | None
    memmap: Mapping[str, int]
    drift: int | None
    saved: int | None
    """Bytes that HVO saves on the whole machine, by the kernel's own accounts."""

    @cached_property
    def _sums(self) -> Mapping[Slot, int]:
        """Each slot over every page key."""
        sums: Counter[Slot] = Counter()
        for (slot, _), value in self.counters.totals.items():
            sums[slot] += value
        return sums

    def total(self, slots: Iterable[Slot], key: PageKey | None = None) -> int | None:
        """Sum of ``slots``, over every page key or for one; None unless each is observed."""
        totals = self.counters.totals
        values = [
            self._sums.get(slot) if key is None else totals.get((slot, key)) for slot in slots
        ]
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None


def look(backend: Backend, state: State, drift: Drift, clock: Callable[[], float]) -> Look:
    """Look once, at everything."""
    return Look(
        clock(),
        backend.counters(),
        backend.status(),
        tuple(state.pools()),
        state.enabled(),
        state.memmap_pages(),
        drift.frames(),
        state.saved_bytes(),
    )


class History:
    """The last looks, oldest first."""

    def __init__(self, first: Look, keep: int = KEEP) -> None:
        self.first = first
        """The first of all, however long ago."""
        self.looks = deque([first], maxlen=keep)

    @property
    def last(self) -> Look:
        """The newest look."""
        return self.looks[-1]

    @property
    def seconds(self) -> float:
        """From the first look of all to the newest."""
        return self.last.at - self.first.at

    def add(self, newest: Look) -> None:
        """Take one more look in."""
        self.looks.append(newest)

    def trend(self, slots: Collection[Slot]) -> list[float | None]:
        """Per second from each look to the next; one less than there are looks."""
        totals = [(one.at, one.total(slots)) for one in self.looks]
        return [_rate(before, after) for before, after in pairwise(totals)]

    def rate(self, slots: Collection[Slot], key: PageKey | None = None) -> float | None:
        """Per second from the last look but one to the last; None while there is only one."""
        before = self.looks[-2] if len(self.looks) > 1 else self.last
        return _rate(
            (before.at, before.total(slots, key)), (self.last.at, self.last.total(slots, key))
        )

    def average(self, slots: Collection[Slot], seconds: float) -> float | None:
        """Per second over the last ``seconds``, or as much of that as there is."""
        since = self.since(seconds)
        return _rate((since.at, since.total(slots)), (self.last.at, self.last.total(slots)))

    def since(self, seconds: float) -> Look:
        """The look of so long ago, or the oldest that is kept."""
        until = self.last.at - seconds
        return next((one for one in reversed(self.looks) if one.at <= until), self.looks[0])

    def durations(self, name: str, order: int, seconds: float | None) -> Histogram | None:
        """Durations of the last ``seconds``; of all since the source began with None."""
        newest = self.last.counters.durations.get((name, order))
        if newest is None or seconds is None:
            return newest
        before = self.since(seconds).counters.durations.get((name, order), Histogram())
        return Histogram(
            tuple(new - old for new, old in zip(newest.counts, before.counts, strict=True)),
            newest.sum_ns - before.sum_ns,
        )


def quantile(histogram: Histogram, share: float) -> float | None:
    """The duration in ns that ``share`` of all stay below, as Prometheus would estimate it.

    Evenly spread within its bucket; infinite beyond the last bound; None when nothing was timed.
    """
    rank = share * sum(histogram.counts)
    if not rank:
        return None
    below, running = 0, 0
    for bound, count in zip(BUCKETS_NS, histogram.counts, strict=False):
        if running + count >= rank:
            return below + (bound - below) * (rank - running) / count
        below, running = bound, running + count
    return float("inf")


def _rate(before: tuple[float, int | None], after: tuple[float, int | None]) -> float | None:
    """None too where a count went back (its source began anew) or no time has passed."""
    (then, old), (now, new) = before, after
    if old is None or new is None or new < old or now <= then:
        return None
    return (new - old) / (now - then)
