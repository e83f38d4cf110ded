# SPDX-License-Identifier: Apache-2.0
"""What a scrape of the daemon holds: the catalogue's metrics, and the process's own cost."""

from prometheus_client import CollectorRegistry, ProcessCollector

from exporter.collector import DEFAULT_MAX_SERIES, HvoCollector
from probes.accounting import Drift, State
from probes.backend import Backend


def make_registry(
    backend: Backend, state: State, drift: Drift, *, max_series: int = DEFAULT_MAX_SERIES
) -> CollectorRegistry:
    """Register all there is. The process is this one, of this /proc, whoever's the kernel is."""
    registry = CollectorRegistry()
    registry.register(HvoCollector(backend, state, drift, max_series=max_series))
    ProcessCollector(registry=registry)
    return registry
