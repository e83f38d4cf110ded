# SPDX-License-Identifier: Apache-2.0
"""Turn one look at a backend and at the kernel's state into metric families, per scrape."""

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from exporter import catalogue
from exporter.catalogue import COUNTER
from probes.accounting import Drift, State
from probes.backend import Backend
from probes.counters import BUCKETS_NS, Counters, Histogram
from probes.geometry import size_label

Samples = Iterable[tuple[tuple[str, ...], float]]


class HvoCollector:
    """A prometheus_client collector. What can't be observed gives no family, or no sample."""

    def __init__(self, backend: Backend, state: State, drift: Drift) -> None:
        """Collect from ``backend`` and ``state``; nothing is kept between scrapes."""
        self._backend = backend
        self._state = state
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        """One scrape."""
        counters = self._backend.counters()
        yield from self._totals(counters)
        yield from self._durations(counters)
        yield from self._health()
        yield from self._kernel_state()
        yield from self._identity()

    def _size(self, order: int) -> str:
        return size_label(self._backend.info.page_size << order)

    def _totals(self, counters: Counters) -> Iterator[Metric]:
        samples: dict[str, list[tuple[tuple[str, ...], float]]] = {}
        for (slot, key), value in counters.totals.items():
            detail = (slot.detail,) if slot.detail else ()
            labels = (self._size(key.order), str(key.node), *detail)
            samples.setdefault(slot.family, []).append((labels, value))
        for family, metric in catalogue.TOTALS.items():
            yield from _family(metric, samples.get(family, ()))

    def _durations(self, counters: Counters) -> Iterator[Metric]:
        for direction, metric in catalogue.DURATIONS.items():
            family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for (which, order), histogram in counters.durations.items():
                if which == direction:
                    buckets = _cumulative(histogram)
                    family.add_metric((self._size(order),), buckets, histogram.sum_ns / 1e9)
            if family.samples:
                yield family

    def _health(self) -> Iterator[Metric]:
        status = self._backend.status()
        yield from _family(
            catalogue.PROBE_ATTACHED,
            [((p.step, p.symbol, p.attach), float(p.attached)) for p in status.probes],
        )
        missed = [((step,), float(n)) for step, n in status.missed.items()]
        yield from _family(catalogue.PROBE_MISSED, missed)
        errors = [((name,), float(n)) for name, n in status.map_errors.items()]
        yield from _family(catalogue.MAP_ERRORS, errors)
        lost = [((where,), float(n)) for where, n in status.lost.items()]
        yield from _family(catalogue.EVENTS_LOST, lost)

    def _kernel_state(self) -> Iterator[Metric]:
        yield from _family(
            catalogue.POOL_HUGEPAGES,
            [
                ((size_label(pool.size), str(pool.node), pool.state), float(pool.pages))
                for pool in self._state.pools()
            ],
        )
        enabled = self._state.enabled()
        yield from _family(catalogue.ENABLED, [] if enabled is None else [((), float(enabled))])
        pages = self._state.memmap_pages()
        yield from _family(
            catalogue.MEMMAP_PAGES, [((kind,), float(n)) for kind, n in pages.items()]
        )

        drift = self._drift.frames()
        yield from _family(
            catalogue.ACCOUNTING_DRIFT, [] if drift is None else [((), float(drift))]
        )

    def _identity(self) -> Iterator[Metric]:
        info = self._backend.info
        yield from _family(catalogue.BACKEND_INFO, [((info.backend, info.kernel, info.mode), 1.0)])
        build = (version("hvoscope"), platform.python_version())
        yield from _family(catalogue.BUILD_INFO, [(build, 1.0)])


def _family(metric: catalogue.Metric, samples: Samples) -> Iterator[Metric]:
    """One counter or gauge family; nothing at all when it has no sample."""
    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    if family.samples:
        yield family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(f"{bound / 1e9:g}" for bound in BUCKETS_NS), "+Inf"]
    running, buckets = 0, []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        running += count
        buckets.append((bound, float(running)))
    return buckets
