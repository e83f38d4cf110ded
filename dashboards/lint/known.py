# SPDX-License-Identifier: Apache-2.0
"""Known series: the catalogue's, ``up`` of Prometheus, ``process_*`` of prometheus_client."""

from collections.abc import Mapping

from exporter.metrics.catalogue import ALL, COUNTER, GAUGE, HISTOGRAM

TARGET = frozenset({"job", "instance"})
"""Labels that Prometheus adds to every series of a target."""

_ENDINGS: Mapping[str, Mapping[str, frozenset[str]]] = {
    COUNTER: {"_total": frozenset()},
    GAUGE: {"": frozenset()},
    HISTOGRAM: {"_bucket": frozenset({"le"}), "_sum": frozenset(), "_count": frozenset()},
}

_SERIES: Mapping[str, frozenset[str]] = {
    "up": TARGET,
    "process_resident_memory_bytes": TARGET,
    **{
        metric.name + ending: frozenset(metric.labels) | more | TARGET
        for metric in ALL
        for ending, more in _ENDINGS[metric.kind].items()
    },
}


def labels_of(series: str) -> frozenset[str] | None:
    """Return the labels of series with this name; None for an unknown name."""
    return _SERIES.get(series)
