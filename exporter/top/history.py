# SPDX-License-Identifier: Apache-2.0
"""Observations, one after the other, and what can be told from two of them.

None is what could not be observed; it never becomes 0.
"""

from collections import deque
from collections.abc import Collection
from itertools import pairwise

from probes.counters import BUCKETS_NS, Histogram, PageKey, Slot
from probes.observation import Observation

KEEP = 240
"""Observations to keep: more than the widest trend shows."""


class History:
    """The last looks, oldest first."""

    def __init__(self, first: Observation, keep: int = KEEP) -> None:
        self.first = first
        """The first of all, however long ago."""
        self.looks = deque([first], maxlen=keep)

    @property
    def last(self) -> Observation:
        """The newest look."""
        return self.looks[-1]

    @property
    def seconds(self) -> float:
        """From the first look of all to the newest."""
        return (self.last.time_ns - self.first.time_ns) / 1e9

    def add(self, newest: Observation) -> None:
        """Take one more look in."""
        self.looks.append(newest)

    def trend(self, slots: Collection[Slot]) -> list[float | None]:
        """Per second from each look to the next; one less than there are looks."""
        totals = [(one.time_ns, one.counters.sum(slots)) for one in self.looks]
        return [_rate(before, after) for before, after in pairwise(totals)]

    def rate(self, slots: Collection[Slot], key: PageKey | None = None) -> float | None:
        """Per second from the last look but one to the last; None while there is only one."""
        before = self.looks[-2] if len(self.looks) > 1 else self.last
        return _rate(
            (before.time_ns, before.counters.sum(slots, key)),
            (self.last.time_ns, self.last.counters.sum(slots, key)),
        )

    def average(self, slots: Collection[Slot], seconds: float) -> float | None:
        """Per second over the last ``seconds``, or as much of that as there is."""
        since = self.since(seconds)
        return _rate(
            (since.time_ns, since.counters.sum(slots)),
            (self.last.time_ns, self.last.counters.sum(slots)),
        )

    def since(self, seconds: float) -> Observation:
        """The look of so long ago, or the oldest that is kept."""
        until = self.last.time_ns - seconds * 1e9
        return next((one for one in reversed(self.looks) if one.time_ns <= until), self.looks[0])

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


def _rate(before: tuple[int, int | None], after: tuple[int, int | None]) -> float | None:
    """Per second, of counts at times in ns; None where a count fell (reset) or no time passed."""
    (then, old), (now, new) = before, after
    if old is None or new is None or new < old or now <= then:
        return None
    return (new - old) * 1e9 / (now - then)
