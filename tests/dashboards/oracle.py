# SPDX-License-Identifier: Apache-2.0
"""Expected query results, computed from the state of the simulated machines.

Metrics, exposition and PromQL are not involved: counters, pools and memmap accounting come from the
simulated kernel and its tracer, and are summed here.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dashboards.prove.openmetrics import JOB, of_target
from dashboards.prove.queries import Window
from dashboards.prove.watch import Truth, Watched
from probes.counters import BUCKETS_NS
from probes.geometry import size_label
from probes.observation import Census, Pools, known

Labels = frozenset[tuple[str, str]]
Values = dict[Labels, float]
Facts = dict[tuple[str, Labels], float]

_LOOKBACK = 300.0
"""Prometheus' lookback: seconds for which a sample counts as current."""


def labelled(**labels: object) -> Labels:
    """Return ``labels`` as Prometheus stores them, without empty ones."""
    return frozenset((name, str(value)) for name, value in labels.items() if value != "")


@dataclass
class Oracle:
    """Machines at one time; ``every`` is the scrape interval. All times are in seconds."""

    machines: list[Watched]
    at: float
    window: Window
    every: float

    def now(
        self,
        fact: str,
        by: Iterable[str] = (),
        how: Callable[[list[float]], float] = sum,
        **where: str,
    ) -> Values:
        """Return a fact of machines that are up, aggregated by labels with ``how``."""
        groups = defaultdict(list)
        for machine in self._up_machines():
            for labels, value in self._facts(machine, self.at, fact):
                if labelled(**where) <= labels:
                    groups[_only(labels, by)].append(value)
        return {labels: how(values) for labels, values in groups.items()}

    def increase(
        self, fact: str, by: Iterable[str] = (), over: float | None = None, lead: float = 0
    ) -> Values:
        """Return its increase in the last ``over`` seconds (``$__rate_interval``), by labels.

        Prometheus extrapolates over ``lead`` more seconds before them.
        """
        begin = self.at - (over or self.window.rate)
        groups: Values = defaultdict(float)
        for machine in self.machines:
            end = min(self.at, machine.truths[-1].seconds)
            if end <= begin:
                continue
            # Prometheus extrapolates a series that ends early by half a scrape interval.
            tail = self.every / 2 if end < self.at else 0.0
            before = dict(self._facts(machine, begin, fact))
            for labels, value in self._facts(machine, end, fact):
                grown = _stretched(before[labels], value, end - begin, lead, tail)
                groups[_only(labels, by)] += grown
        return dict(groups)

    def rate(self, fact: str, by: Iterable[str] = ()) -> Values:
        """Return the increase per second over ``$__rate_interval``."""
        return {key: value / self.window.rate for key, value in self.increase(fact, by).items()}

    def quantile(
        self, share: float, which: str, by: Iterable[str] = (), over: float | None = None
    ) -> Values:
        """Return a quantile of a duration, interpolated linearly within a bucket."""
        counts: dict[Labels, dict[float, float]] = defaultdict(dict)
        for labels, value in self.increase(f"{which}_bucket", (*by, "le"), over).items():
            bound = float(dict(labels)["le"])
            counts[_only(labels, by)][bound] = value
        return {labels: _quantile(share, buckets) for labels, buckets in counts.items()}

    def earlier(self, seconds: float) -> "Oracle":
        """Return the oracle of ``seconds`` earlier."""
        return replace(self, at=self.at - seconds)

    def count_machines(self) -> float:
        """Return the number of machines that are up."""
        return len(self._up_machines())

    def machine_labels(self) -> Iterator[tuple[str, str]]:
        """Return instance and kernel of the machines that are up."""
        return ((machine.instance, machine.kernel) for machine in self._up_machines())

    def up(self) -> dict[str, bool]:
        """Return whether the last scrape of each machine succeeded."""
        return {
            machine.instance: machine.truths[-1].seconds >= self.at for machine in self.machines
        }

    def _up_machines(self) -> list[Watched]:
        return [m for m in self.machines if m.truths[-1].seconds > self.at - _LOOKBACK]

    def _facts(self, machine: Watched, at: float, fact: str) -> Iterator[tuple[Labels, float]]:
        own = frozenset(
            {("instance", machine.instance), ("job", JOB), *of_target(machine.instance)}
        )
        for (name, labels), value in _facts_of(machine.at(at), machine.page_size):
            if name == fact:
                yield labels | own, value


def ratio(above: Values, below: Values) -> Values:
    """Divide where ``below`` is above 0."""
    return {key: above[key] / below[key] for key in above if below.get(key, 0) > 0}


def difference(one: Values, other: Values) -> Values:
    """Subtract where both have a value."""
    return {key: one[key] - other[key] for key in one if key in other}


def scalar(value: float) -> Values:
    """Return one value without labels."""
    return {frozenset(): value}


def _stretched(before: float, after: float, seconds: float, lead: float, tail: float) -> float:
    """Extrapolate an increase as Prometheus does; a counter never was below 0."""
    grown = after - before
    if grown > 0:
        lead = min(lead, seconds * before / grown)
    return grown * (seconds + lead + tail) / seconds


def _only(labels: Labels, by: Iterable[str]) -> Labels:
    wanted = set(by)
    return frozenset(label for label in labels if label[0] in wanted)


def _quantile(share: float, buckets: Mapping[float, float]) -> float:
    bounds = sorted(buckets)
    rank = share * buckets[math.inf]
    if not buckets[math.inf]:
        return math.nan
    below, low = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == math.inf:
                return bounds[-2]
            return low + (bound - low) * (rank - below) / (buckets[bound] - below)
        below, low = buckets[bound], bound
    raise AssertionError("the last bucket holds everything")


def _facts_of(truth: Truth, page_size: int) -> Iterator[tuple[tuple[str, Labels], float]]:
    """Yield facts by name and labels."""
    for (slot, key), total in truth.seen.counters.totals.items():
        page = labelled(size=size_label(page_size << key.order), numa_node=key.node)
        detail = {"hugepages_skipped": "reason", "frames_allocated": "cause"}.get(
            slot.family, "error"
        )
        yield (slot.family, page | labelled(**{detail: slot.detail})), total
    for (which, order), histogram in truth.seen.counters.durations.items():
        size = size_label(page_size << order)
        running = 0
        for bound, count in zip((*BUCKETS_NS, math.inf), histogram.counts, strict=True):
            running += count
            le = "+Inf" if bound == math.inf else f"{bound / 1e9:g}"
            yield (f"{which}_bucket", labelled(size=size, le=le)), running
        yield (f"{which}_count", labelled(size=size)), running
        yield (f"{which}_sum", labelled(size=size)), histogram.sum_ns / 1e9
    yield from _state_of(truth, page_size)


def _state_of(truth: Truth, page_size: int) -> Iterator[tuple[tuple[str, Labels], float]]:
    for probe in truth.seen.status.probes:
        where = labelled(step=probe.step, symbol=probe.symbol, attach=probe.attach)
        yield ("attached", where), probe.attached
    for step, missed in truth.seen.status.missed.items():
        yield ("missed", labelled(step=step)), missed
    for buffer, lost in truth.seen.status.lost.items():
        yield ("lost", labelled(where=buffer)), lost
    pools, memmap = known(truth.seen.pools) or Pools(), known(truth.seen.memmap)
    for pool in pools.by_node:
        which = labelled(size=size_label(pool.size), numa_node=pool.node)
        yield (f"pool_{pool.state}", which), pool.pages
    for size, pages in pools.reserved.items():
        yield ("pool_reserved", labelled(size=size_label(size))), pages
    for size, pages in pools.overcommit.items():
        yield ("overcommit", labelled(size=size_label(size))), pages
    census = known(truth.seen.census)
    assert memmap is not None
    for kind, frames in memmap.pages.items():
        yield ("memmap", labelled(kind=kind)), frames
    if census is not None:
        yield from _census(census, pools, page_size)
    yield ("enabled", labelled()), bool(known(truth.seen.switch))
    yield ("saved", labelled()), known(memmap.saved_bytes) or 0
    yield ("drift", labelled()), known(truth.seen.drift) or 0
    for bug in known(truth.seen.bugs) or ():
        yield ("kernel_bug", labelled(bug=bug)), 1
    for (name, own), value in truth.exporter.items():
        yield (name, frozenset(own)), value


def _census(
    census: Census, pools: Pools, page_size: int
) -> Iterator[tuple[tuple[str, Labels], float]]:
    for key, pages in census.optimized.items():
        which = labelled(size=size_label(page_size << key.order), numa_node=key.node)
        yield ("optimized_now", which), pages
        yield ("saved_now", which), pages * census.frames_each[key.order] * page_size
    for pool in pools.by_node:
        if pool.state == "total":
            each = census.frames_each[(pool.size // page_size).bit_length() - 1]
            which = labelled(size=size_label(pool.size), numa_node=pool.node)
            yield ("possible", which), pool.pages * each * page_size
