# SPDX-License-Identifier: Apache-2.0
"""Convert an observation into metric families of the catalogue.

A value that could not be observed has no sample.
"""

import functools
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from exporter.metrics import catalogue
from exporter.metrics.catalogue import COUNTER
from probes.backend import Info
from probes.counters import BUCKETS_NS, Counters, Histogram
from probes.geometry import size_label
from probes.observation import (
    Absent,
    Census,
    Failed,
    Memmap,
    Observation,
    Pools,
    Probes,
    Status,
    known,
)

_BOUNDS = (*(f"{bound / 1e9:g}" for bound in BUCKETS_NS), "+Inf")
"""Upper bounds of buckets in seconds, as values of the label ``le``."""

Samples = Iterable[tuple[tuple[str, ...], float]]
"""Label values in the catalogue's order, and the value."""


def family(metric: catalogue.Metric, samples: Samples) -> Iterator[Metric]:
    """Yield one counter or gauge family; nothing if it has no sample."""
    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    made = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        made.add_metric(labels, value)
    if made.samples:
        yield made


def single(metric: catalogue.Metric, value: float | Absent | Failed) -> Iterator[Metric]:
    """Yield a family without labels; nothing if the value is not known."""
    number = known(value)
    yield from family(metric, [] if number is None else [((), float(number))])


def from_observation(observation: Observation, info: Info) -> Iterator[Metric]:
    """Yield the families of an observation; absent and failed parts have none."""
    yield from _totals(observation.counters, info.page_size)
    yield from _durations(observation.counters, info.page_size)
    if isinstance(observation.probes, Probes):
        yield from _health(observation.status)
    pools = known(observation.pools) or Pools()
    yield from _pools(pools)
    if isinstance(observation.census, Census):
        yield from _census(observation.census, pools, info.page_size)
    yield from single(catalogue.ENABLED, observation.switch)
    if isinstance(observation.memmap, Memmap):
        pages = observation.memmap.pages.items()
        yield from family(catalogue.MEMMAP_PAGES, [((kind,), float(n)) for kind, n in pages])
        yield from single(catalogue.MEMMAP_SAVED, observation.memmap.saved_bytes)
    yield from single(catalogue.ACCOUNTING_DRIFT, observation.drift)


def info_metrics(info: Info) -> Iterator[Metric]:
    """Yield what is constant: source, build, and what the checks found at the start."""
    yield from family(catalogue.BACKEND_INFO, [((info.backend, info.kernel, info.mode), 1.0)])
    yield from family(catalogue.BUILD_INFO, [(_build(), 1.0)])
    if info.supported is not None:
        yield from single(catalogue.SUPPORTED, info.supported)
    checks = [((name,), float(passed)) for name, passed in info.checks.items()]
    yield from family(catalogue.CHECK_RESULT, checks)


@functools.cache
def _build() -> tuple[str, str]:
    """Return the versions of hvoscope and Python; cached, since the first is read from a file."""
    return version("hvoscope"), platform.python_version()


def _pools(pools: Pools) -> Iterator[Metric]:
    for state, metric in catalogue.POOLS.items():
        yield from family(
            metric,
            [
                (_page(pool.size, pool.node), float(pool.pages))
                for pool in pools.by_node
                if pool.state == state
            ],
        )
    for metric, by_size in (
        (catalogue.POOL_RESERVED, pools.reserved),
        (catalogue.POOL_OVERCOMMIT, pools.overcommit),
    ):
        samples = [((size_label(size),), float(pages)) for size, pages in by_size.items()]
        yield from family(metric, samples)


def _census(census: Census, pools: Pools, page_size: int) -> Iterator[Metric]:
    """What is optimized and saved now, and what the pools could save."""
    optimized = [
        (_page(page_size << key.order, key.node), key.order, float(pages))
        for key, pages in census.optimized.items()
    ]
    possible = [
        (_page(pool.size, pool.node), (pool.size // page_size).bit_length() - 1, float(pool.pages))
        for pool in pools.by_node
        if pool.state == "total"
    ]
    if census.taken is not None:
        yield from single(catalogue.CENSUS_TIME, census.taken)
    yield from family(catalogue.OPTIMIZED, [(page, pages) for page, _, pages in optimized])
    for metric, counts in ((catalogue.SAVED, optimized), (catalogue.POSSIBLE, possible)):
        samples = [
            (page, pages * census.frames_each[order] * page_size)
            for page, order, pages in counts
            if order in census.frames_each
        ]
        yield from family(metric, samples)


def _page(size: int, node: int) -> tuple[str, str]:
    """Values of the labels ``size`` and ``numa_node``."""
    return size_label(size), str(node)


def _totals(counters: Counters, page_size: int) -> Iterator[Metric]:
    samples: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for (slot, key), value in counters.totals.items():
        detail = (slot.detail,) if slot.detail else ()
        labels = (*_page(page_size << key.order, key.node), *detail)
        samples.setdefault(slot.family, []).append((labels, value))
    for name, metric in catalogue.TOTALS.items():
        yield from family(metric, samples.get(name, ()))


def _durations(counters: Counters, page_size: int) -> Iterator[Metric]:
    for direction, metric in catalogue.DURATIONS.items():
        made = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for (which, order), histogram in counters.durations.items():
            if which == direction:
                size = size_label(page_size << order)
                made.add_metric((size,), _cumulative(histogram), histogram.sum_ns / 1e9)
        if made.samples:
            yield made


def _health(status: Status) -> Iterator[Metric]:
    yield from family(
        catalogue.PROBE_ATTACHED,
        [((p.step, p.symbol, p.attach), float(p.attached)) for p in status.probes],
    )
    for metric, counts in (
        (catalogue.PROBE_MISSED, status.missed),
        (catalogue.MAP_ERRORS, status.map_errors),
        (catalogue.EVENTS_LOST, status.lost),
    ):
        yield from family(metric, [((name,), float(n)) for name, n in counts.items()])


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    counts = map(float, accumulate(histogram.counts))
    return list(zip(_BOUNDS, counts, strict=True))
