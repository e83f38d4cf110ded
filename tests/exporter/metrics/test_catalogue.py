# SPDX-License-Identifier: Apache-2.0
from exporter.metrics import catalogue
from exporter.metrics.catalogue import BACKENDS, COUNTER
from probes.counters import DURATIONS, SLOTS

ALLOWED_LABELS = {
    *("size", "numa_node", "reason", "error", "cause", "step", "symbol", "attach", "where"),
    *("check", "map", "kind", "backend", "kernel", "mode", "version", "python", "collector"),
}


def test_names_follow_prometheus() -> None:
    for metric in catalogue.ALL:
        assert metric.name.startswith("hvo_"), metric
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket")), metric
        assert set(metric.labels) <= ALLOWED_LABELS, metric
        assert metric.help.endswith("."), metric
        assert set(metric.backends) <= set(BACKENDS), metric


def test_names_are_unique() -> None:
    names = [metric.name for metric in catalogue.ALL]
    assert len(names) == len(set(names))


def test_every_slot_and_duration_has_a_metric() -> None:
    assert {slot.family for slot in SLOTS} == set(catalogue.TOTALS)
    assert set(DURATIONS) == set(catalogue.DURATIONS)


def test_a_slot_with_a_detail_has_a_label_for_it() -> None:
    for slot in SLOTS:
        metric = catalogue.TOTALS[slot.family]
        assert metric.kind == COUNTER
        assert metric.labels[:2] == ("size", "numa_node")
        assert len(metric.labels) == (3 if slot.detail else 2)
