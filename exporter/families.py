# SPDX-License-Identifier: Apache-2.0
"""What a backend and a kernel's state say, as metric families of the catalogue.

What could not be observed gives no family, or no sample.
"""

import functools
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from probes.backend import Backend, Info, Status
from probes.counters import BUCKETS_NS, Counters, Histogram
from probes.geometry import size_label

Samples = Iterable[tuple[tuple[str, ...], float]]
"""Label values in the catalogue's order, and the value."""

Part = Callable[[], Iterator[Metric]]


def family(metric: catalogue.Metric, samples: Samples) -> Iterator[Metric]:
    """One counter or gauge family; nothing at all when it has no sample."""
    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    made = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        made.add_metric(labels, value)
    if made.samples:
        yield made


def single(metric: catalogue.Metric, value: float | None) -> Iterator[Metric]:
    """A family without labels; nothing for None."""
    yield from family(metric, [] if value is None else [((), float(value))])


def parts(backend: Backend, state: State, held: Drift) -> Mapping[str, Part]:
    """What there is to collect, by ``catalogue.COLLECTORS``; each may fail by itself."""
    return {
        "probes": lambda: probes(backend),
        "pools": lambda: pools(state),
        "switch": lambda: switch(state),
        "memmap": lambda: memmap(state),
        "drift": lambda: drift(held),
    }


def probes(backend: Backend) -> Iterator[Metric]:
    """Everything that the probes count, and how well they sit."""
    page_size = backend.info.page_size
    counters = backend.counters()
    yield from _totals(counters, page_size)
    yield from _durations(counters, page_size)
    yield from _health(backend.status())


def pools(state: State) -> Iterator[Metric]:
    """The pools of each size."""
    by_node: Samples = [
        ((size_label(pool.size), str(pool.node), pool.state), float(pool.pages))
        for pool in state.pools()
    ]
    reserved: Samples = [
        ((size_label(size), "", "reserved"), float(pages))
        for size, pages in state.reserved().items()
    ]
    yield from family(catalogue.POOL_HUGEPAGES, [*by_node, *reserved])
    yield from family(
        catalogue.POOL_OVERCOMMIT,
        [((size_label(size),), float(pages)) for size, pages in state.overcommit().items()],
    )


def switch(state: State) -> Iterator[Metric]:
    """Whether HVO is on."""
    yield from single(catalogue.ENABLED, state.enabled())


def memmap(state: State) -> Iterator[Metric]:
    """What struct pages take, and what HVO saves of it."""
    pages = state.memmap_pages()
    yield from family(catalogue.MEMMAP_PAGES, [((kind,), float(n)) for kind, n in pages.items()])
    yield from single(catalogue.MEMMAP_SAVED, state.saved_bytes())


def drift(held: Drift) -> Iterator[Metric]:
    """Probes held against the kernel."""
    yield from single(catalogue.ACCOUNTING_DRIFT, held.frames())


def identity(info: Info) -> Iterator[Metric]:
    """Which source and which build this is."""
    yield from family(catalogue.BACKEND_INFO, [((info.backend, info.kernel, info.mode), 1.0)])
    yield from family(catalogue.BUILD_INFO, [(_build(), 1.0)])


@functools.cache
def _build() -> tuple[str, str]:
    """Of hvoscope, which takes reading a file, and of Python."""
    return version("hvoscope"), platform.python_version()


def _totals(counters: Counters, page_size: int) -> Iterator[Metric]:
    samples: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for (slot, key), value in counters.totals.items():
        detail = (slot.detail,) if slot.detail else ()
        labels = (size_label(page_size << key.order), str(key.node), *detail)
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
    bounds = [*(f"{bound / 1e9:g}" for bound in BUCKETS_NS), "+Inf"]
    running, buckets = 0, []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        running += count
        buckets.append((bound, float(running)))
    return buckets
