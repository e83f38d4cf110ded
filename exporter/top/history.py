# SPDX-License-Identifier: Apache-2.0
"""Series of observations, and the rates and latencies computed from them.

A value that could not be observed is None, never 0.
"""

from collections import deque
from collections.abc import Collection
from itertools import pairwise

from probes.counters import BUCKETS_NS, Histogram, PageKey, Slot
from probes.observation import Observation

KEEP = 240
"""Number of observations to keep: more than the widest trend shows."""


class History:
    """The last observations, oldest first."""

    def __init__(self, first: Observation, keep: int = KEEP) -> None:
        self.first = first
        """The first observation, never discarded."""
        self.observations = deque([first], maxlen=keep)

    @property
    def last(self) -> Observation:
        """The newest observation."""
        return self.observations[-1]

    @property
    def seconds(self) -> float:
        """Time from the first observation to the newest."""
        return (self.last.time_ns - self.first.time_ns) / 1e9

    def add(self, newest: Observation) -> None:
        """Append an observation."""
        self.observations.append(newest)

    def trend(self, slots: Collection[Slot]) -> list[float | None]:
        """Return the rates per second between consecutive observations."""
        totals = [(one.time_ns, one.counters.sum(slots)) for one in self.observations]
        return [_rate(before, after) for before, after in pairwise(totals)]

    def rate(self, slots: Collection[Slot], key: PageKey | None = None) -> float | None:
        """Return the rate per second between the last two observations; None if only one exists."""
        before = self.observations[-2] if len(self.observations) > 1 else self.last
        return _rate(
            (before.time_ns, before.counters.sum(slots, key)),
            (self.last.time_ns, self.last.counters.sum(slots, key)),
        )

    def average(self, slots: Collection[Slot], seconds: float) -> float | None:
        """Return the rate per second over the last ``seconds``, or over the kept observations."""
        since = self.since(seconds)
        return _rate(
            (since.time_ns, since.counters.sum(slots)),
            (self.last.time_ns, self.last.counters.sum(slots)),
        )

    def since(self, seconds: float) -> Observation:
        """Return the observation from ``seconds`` ago, or the oldest kept."""
        until = self.last.time_ns - seconds * 1e9
        kept = self.observations
        return next((one for one in reversed(kept) if one.time_ns <= until), kept[0])

    def durations(self, name: str, order: int, seconds: float | None) -> Histogram | None:
        """Return durations of the last ``seconds``; with None, since the source started."""
        newest = self.last.counters.durations.get((name, order))
        if newest is None or seconds is None:
            return newest
        before = self.since(seconds).counters.durations.get((name, order), Histogram())
        return Histogram(
            tuple(new - old for new, old in zip(newest.counts, before.counts, strict=True)),
            newest.sum_ns - before.sum_ns,
        )


def quantile(histogram: Histogram, share: float) -> float | None:
    """Estimate a quantile (``share`` from 0 to 1) in ns, as Prometheus does.

    Interpolates linearly within a bucket; infinite above the last bound; None for no samples.
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
    """Return a rate per second from (ns, count) pairs; None on a reset or without elapsed time."""
    (then, old), (now, new) = before, after
    if old is None or new is None or new < old or now <= then:
        return None
    return (new - old) * 1e9 / (now - then)
