# SPDX-License-Identifier: Apache-2.0
"""A part that fails costs its own series; a scrape measures itself and keeps to its limit."""

import logging
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from exporter import catalogue
from exporter.collector import HvoCollector
from probes.accounting import Drift, KernelState, State
from probes.counters import Counters
from probes.host import Host
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel import SimKernel
from tests.probes.trees import make_host

SWITCH = "proc/sys/vm/hugetlb_optimize_vmemmap"
POOL = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"


@pytest.fixture
def backend() -> Iterator[SimBackend]:
    made = SimBackend(SimKernel("6.7", nodes=2, seed=3))
    made.start()
    made.operate(parse_operation("grow 2MB 23"))
    yield made
    made.stop()


def collector(backend: SimBackend, state: State, max_series: int = 10_000) -> HvoCollector:
    """With a clock that moves on by a second at every look."""
    seconds = count()
    return HvoCollector(
        backend,
        state,
        Drift(backend, state),
        max_series=max_series,
        clock=lambda: float(next(seconds)),
    )


def scrape(collector: HvoCollector) -> dict[tuple[str, ...], float]:
    """By name, then values of labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def success(samples: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    return {key[1]: v for key, v in samples.items() if key[0] == "hvo_scrape_collector_success"}


@pytest.mark.parametrize(
    ("name", "text", "fails"),
    [
        (SWITCH, "maybe\n", {"switch": "hvo_enabled"}),
        (POOL, "many\n", {"pools": "hvo_pool_hugepages"}),
        # The drift needs these counters too, and has no series here in any case.
        ("proc/vmstat", "nr_memmap_pages lots\n", {"memmap": "hvo_memmap_pages", "drift": ""}),
    ],
)
def test_a_file_of_another_shape_costs_its_own_series(
    tmp_path: Path, backend: SimBackend, name: str, text: str, fails: Mapping[str, str]
) -> None:
    good = {SWITCH: "1\n", POOL: "23\n", "proc/vmstat": "nr_memmap_pages 5\n"}
    whole = scrape(collector(backend, KernelState(make_host(tmp_path / "good", good))))
    assert set(success(whole).values()) == {1}
    bad = make_host(tmp_path / "bad", {**good, name: text})
    found = scrape(collector(backend, KernelState(bad)))
    assert success(found) == {part: part not in fails for part in catalogue.COLLECTORS}
    assert {key[0] for key in whole if key not in found} == set(fails.values()) - {""}


class Detached(SimBackend):
    """A backend whose map can't be read while ``gone``."""

    gone = True

    def counters(self) -> Counters:
        if self.gone:
            raise OSError("map is gone")
        return super().counters()


def test_a_failure_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    backend = Detached(SimKernel("6.7"))
    collected = collector(backend, backend)
    for gone in (True, True, False, False, True):
        backend.gone = gone
        assert success(scrape(collected))["probes"] == (not gone)
    lost, back = (
        "collector probes failed, its series are absent: OSError: map is gone",
        "collector probes works again",
    )
    of_probes = [r.getMessage() for r in caplog.records if "probes" in r.getMessage()]
    assert of_probes == [lost, back, lost]


def test_a_scrape_measures_itself(backend: SimBackend) -> None:
    samples = scrape(collector(backend, backend))
    for part in catalogue.COLLECTORS:
        assert samples["hvo_scrape_collector_duration_seconds", part] == 1
    # The clock was looked at twice for each part, and at the beginning and the end.
    assert samples["hvo_scrape_duration_seconds",] == 2 * len(catalogue.COLLECTORS) + 1
    assert samples["hvo_series",] == len(samples)
    assert samples["hvo_series_limit",] == 10_000
    assert samples["hvo_series_dropped_total",] == 0


def families(collector: HvoCollector) -> dict[str, Metric]:
    return {family.name: family for family in collector.collect()}


def test_under_the_limit_a_family_is_whole_or_absent(backend: SimBackend) -> None:
    whole = families(collector(backend, backend))
    size = {name: len(family.samples) for name, family in whole.items()}
    own = sum(size[metric.name] for metric in catalogue.OWN)
    for limit in range(own, sum(size.values()) + 1):
        kept = families(collector(backend, backend, limit))
        for name, family in kept.items():
            assert len(family.samples) == size[name]
        series = sum(size[name] for name in kept)
        assert kept["hvo_series"].samples[0].value == series <= limit
        dropped = kept["hvo_series_dropped"].samples[0].value
        assert dropped == sum(size.values()) - series


def test_dropped_series_add_up(backend: SimBackend) -> None:
    tight = collector(backend, backend, 1)
    first, second = (families(tight)["hvo_series_dropped"].samples[0].value for _ in range(2))
    assert second == 2 * first > 0
    assert set(families(tight)) == {metric.name for metric in catalogue.OWN}


def test_what_a_machine_does_not_have_is_no_failure(tmp_path: Path, backend: SimBackend) -> None:
    bare = KernelState(Host(tmp_path, tmp_path, tmp_path, "6.1.0-test"))
    assert set(success(scrape(collector(backend, bare))).values()) == {1}
