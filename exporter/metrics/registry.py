# SPDX-License-Identifier: Apache-2.0
"""The daemon's metrics: the catalogue's, and ``process_*`` of the exporter."""

from collections.abc import Collection, Iterable

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.registry import Collector

from exporter.metrics import catalogue
from exporter.metrics.collector import HvoCollector
from probes.backend import Backend


class Registry(CollectorRegistry):
    """All metrics, or those of selected collectors."""

    def __init__(self, hvo: HvoCollector) -> None:
        """Register ``hvo`` and process_* metrics, which always describe this exporter."""
        super().__init__()
        self._hvo = hvo
        self._process = ProcessCollector(registry=None)
        self.register(hvo)
        self.register(self._process)

    @property
    def collectors(self) -> Collection[str]:
        """Names of the collectors: ``catalogue.COLLECTORS``."""
        return catalogue.COLLECTORS

    def part(self, collectors: Collection[str]) -> Collector:
        """Return these collectors together with process_* metrics."""
        return _Part(self._hvo, collectors, self._process)


class _Part(Collector):
    def __init__(self, hvo: HvoCollector, names: Collection[str], rest: Collector) -> None:
        self._hvo = hvo
        self._names = names
        self._rest = rest

    def collect(self) -> Iterable[Metric]:
        return [*self._hvo.collect_only(self._names), *self._rest.collect()]


def make_registry(backend: Backend) -> Registry:
    """Make the registry of ``backend``."""
    return Registry(HvoCollector(backend))
