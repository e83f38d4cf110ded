# SPDX-License-Identifier: Apache-2.0
"""A failing part only loses its own series; a scrape measures itself."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from exporter.metrics import catalogue
from exporter.metrics.collector import HvoCollector
from probes.baseline import Baseline
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState
from probes.observation import PARTS, PROBES, Observation, Probes, known
from probes.observer import HugetlbState, Observer
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
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


class Mixed(SimBackend):
    """Simulated probes with another kernel's state; the map can't be read while ``gone``."""

    def __init__(self, backend: SimBackend, state: HugetlbState) -> None:
        super().__init__(SimKernel("6.7"))
        self.gone = False
        self._backend = backend
        self._watcher = Observer(
            self.take,
            lambda probes: probes,
            state,
            lambda: Baseline({}, {9: 7}),
            timer=a_second_each(),
        )

    def take(self) -> Probes:
        if self.gone:
            raise OSError("map is gone")
        probes = known(self._backend.observe((PROBES,)).probes)
        assert probes is not None
        return probes

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        return self._watcher.observe(parts)


def a_second_each() -> Callable[[], float]:
    """Return a clock that advances one second at every reading."""
    seconds = count()
    return lambda: float(next(seconds))


def collector(backend: SimBackend, state: HugetlbState) -> HvoCollector:
    return HvoCollector(Mixed(backend, state), clock=a_second_each())


def scrape(collector: HvoCollector) -> dict[tuple[str, ...], float]:
    """Return samples by name and label values."""
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
        (SWITCH, "maybe\n", {"switch": {"hvo_enabled"}}),
        (POOL, "many\n", {"pools": {"hvo_pool_hugepages", "hvo_possible_bytes"}}),
        # The drift also needs these counters, but never has a series here.
        ("proc/vmstat", "nr_memmap_pages lots\n", {"memmap": {"hvo_memmap_pages"}, "drift": set()}),
    ],
)
def test_an_invalid_file_only_loses_its_own_series(
    tmp_path: Path, backend: SimBackend, name: str, text: str, fails: Mapping[str, set[str]]
) -> None:
    good = {SWITCH: "1\n", POOL: "23\n", "proc/vmstat": "nr_memmap_pages 5\n"}
    whole = scrape(collector(backend, KernelState(make_host(tmp_path / "good", good))))
    assert set(success(whole).values()) == {1}
    bad = make_host(tmp_path / "bad", {**good, name: text})
    found = scrape(collector(backend, KernelState(bad)))
    assert success(found) == {part: part not in fails for part in catalogue.COLLECTORS}
    assert {key[0] for key in whole if key not in found} == set().union(*fails.values())


def test_a_failure_and_its_end_are_logged_once(
    backend: SimBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mixed = Mixed(backend, SimKernel("6.7"))
    collected = HvoCollector(mixed)
    for gone in (True, True, False, False, True):
        mixed.gone = gone
        assert success(scrape(collected))["probes"] == (not gone)
    lost, back = (
        "collector probes failed, its series are absent: OSError: map is gone",
        "collector probes works again",
    )
    of_probes = [r.getMessage() for r in caplog.records if "probes" in r.getMessage()]
    assert of_probes == [lost, back, lost]


def test_a_scrape_measures_itself(backend: SimBackend) -> None:
    samples = scrape(collector(backend, SimKernel("6.7")))
    for part in catalogue.COLLECTORS:
        assert samples["hvo_scrape_collector_duration_seconds", part] == 1
    assert samples["hvo_scrape_duration_seconds",] == 1


def test_a_missing_feature_is_not_a_failure(tmp_path: Path, backend: SimBackend) -> None:
    bare = KernelState(Host(tmp_path, tmp_path, tmp_path, "6.1.0-test"))
    assert set(success(scrape(collector(backend, bare))).values()) == {1}
