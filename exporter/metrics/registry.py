# SPDX-License-Identifier: Apache-2.0
"""What a scrape of the daemon holds: the catalogue's metrics, and the process's own cost."""

from collections.abc import Collection, Iterable

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.registry import Collector

from exporter.metrics import catalogue
from exporter.metrics.collector import HvoCollector
from probes.backend import Backend


class Registry(CollectorRegistry):
    """All that can be scraped, and parts of it by the collector's name."""

    def __init__(self, hvo: HvoCollector) -> None:
        """process_* metrics always describe this exporter, whichever kernel ``hvo`` is of."""
        super().__init__()
        self._hvo = hvo
        self._process = ProcessCollector(registry=None)
        self.register(hvo)
        self.register(self._process)

    @property
    def collectors(self) -> Collection[str]:
        """``catalogue.COLLECTORS``."""
        return catalogue.COLLECTORS

    def part(self, collectors: Collection[str]) -> Collector:
        """What these collect, and what this process costs."""
        return _Part(self._hvo, collectors, self._process)


class _Part(Collector):
    def __init__(self, hvo: HvoCollector, names: Collection[str], rest: Collector) -> None:
        self._hvo = hvo
        self._names = names
        self._rest = rest

    def collect(self) -> Iterable[Metric]:
        return [*self._hvo.collect_only(self._names), *self._rest.collect()]


def make_registry(backend: Backend) -> Registry:
    """Register all there is."""
    return Registry(HvoCollector(backend))
