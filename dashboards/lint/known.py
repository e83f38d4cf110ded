# SPDX-License-Identifier: Apache-2.0
"""Known series: the catalogue's, recorded ones, those of Prometheus and prometheus_client."""

from collections.abc import Mapping

from dashboards.rules import rules
from exporter.metrics.catalogue import ALL, COUNTER, GAUGE, HISTOGRAM

TARGET = frozenset({"job", "instance", "cluster"})
"""Labels that Prometheus adds to every series of a target; ``cluster`` if the fleet has several."""

_LEVELS = ("numa_node", "alertname", "kernel", "symbol", "error", "size")
"""Labels that the level of a recorded series can name."""

_ENDINGS: Mapping[str, Mapping[str, frozenset[str]]] = {
    COUNTER: {"_total": frozenset()},
    GAUGE: {"": frozenset()},
    HISTOGRAM: {"_bucket": frozenset({"le"}), "_sum": frozenset(), "_count": frozenset()},
}


def _of_level(level: str) -> frozenset[str]:
    target = TARGET if level.startswith("instance") else TARGET - {"instance"}
    return target | {name for name in _LEVELS if f"_{name}" in level}


_SERIES: Mapping[str, frozenset[str]] = {
    "up": TARGET,
    "process_resident_memory_bytes": TARGET,
    "process_start_time_seconds": TARGET,
    "ALERTS": TARGET | {"alertname", "alertstate", "severity"},
    **{
        metric.name + ending: frozenset(metric.labels) | more | TARGET
        for metric in ALL
        for ending, more in _ENDINGS[metric.kind].items()
    },
    **{
        rule.name: _of_level(rule.name.partition(":")[0])
        for rule in rules()
        if rule.kind == "record"
    },
}


def labels_of(series: str) -> frozenset[str] | None:
    """Return the labels of series with this name; None for an unknown name."""
    return _SERIES.get(series)
