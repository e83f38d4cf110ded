# SPDX-License-Identifier: Apache-2.0
"""The backend: what the contract says, with a scenario running and without."""

import threading
from collections.abc import Iterator

import pytest

from probes.backend import STEPS, Backend, BackendError, Info
from probes.counters import SLOTS, PageKey, reduce
from probes.events import unpack_all
from probes.geometry import GIB, MIB
from probes.observation import Memmap, Pools
from probes.operations import Operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Step
from sim_backend.scenario.default import default_kernel, default_scenario

GROW = Operation("grow", 2 * MIB, 23)
SHRINK = Operation("shrink", 2 * MIB, 23)


def kernel(generation: str = "v17-enabled", nodes: int = 2) -> SimKernel:
    return SimKernel(
        generation, huge_page_sizes=(2 * MIB, 32 * MIB), nodes=nodes, memory_per_node=1 * GIB
    )


def at_once(stopping: threading.Event, seconds: float) -> None:
    """Wait for nothing."""


class Steps:
    """A scenario that says when it has been used up."""

    def __init__(self, *operations: Operation) -> None:
        self._operations = operations
        self.done = threading.Event()

    def __iter__(self) -> Iterator[Step]:
        for operation in self._operations:
            yield Step(1.5, operation)
        self.done.set()

    def wait(self) -> None:
        assert self.done.wait(30)


def test_everything_is_observed_before_the_start() -> None:
    backend: Backend = SimBackend(default_kernel("5.14"), default_scenario())
    assert backend.info == Info("sim", "5.14", "simulated", 4096)
    seen = backend.observe()
    assert seen.switch is True
    assert seen.memmap == Memmap({"boot": 131_072, "runtime": 0}, 0)
    assert isinstance(seen.pools, Pools)
    assert {pool.pages for pool in seen.pools.by_node} == {0}
    assert seen.pools.reserved == {2 * MIB: 0, 1 * GIB: 0}


def test_status_before_while_and_after() -> None:
    backend = SimBackend(kernel("6.7"))
    before = backend.observe().status
    assert (before.ready, before.problem) == (False, "not started")
    assert not any(probe.attached or probe.attach for probe in before.probes)
    assert {probe.reason for probe in before.probes} == {"not started"}
    backend.start()
    status = backend.observe().status
    assert (status.ready, status.problem) == (True, "")
    assert [(p.step, p.symbol) for p in status.probes] == [
        ("batch", "hugetlb_vmemmap_optimize_folios"),
        ("optimize", "__hugetlb_vmemmap_optimize_folio"),
        ("remap_range", "vmemmap_remap_range"),
        ("remap_pte", "vmemmap_remap_pte"),
        ("restore", "__hugetlb_vmemmap_restore_folio"),
        ("restore_pte", "vmemmap_restore_pte"),
    ]
    assert all(p.attached and p.attach == "simulated" and not p.reason for p in status.probes)
    assert status.missed == dict.fromkeys(STEPS, 0)
    backend.stop()
    assert not backend.observe().status.ready


@pytest.mark.parametrize("generation", ["v17", "v17-enabled", "5.14", "5.18"])
def test_symbols_of_the_seed(generation: str) -> None:
    probes = SimBackend(kernel(generation)).observe().status.probes
    assert [probe.symbol for probe in probes] == [
        "free_huge_page_vmemmap",
        "vmemmap_remap_free",
        "vmemmap_remap_pte",
        "alloc_huge_page_vmemmap",
        "vmemmap_restore_pte",
    ]


@pytest.mark.parametrize("generation", ["6.0", "6.2"])
def test_symbols_between(generation: str) -> None:
    status = SimBackend(kernel(generation)).observe().status
    assert {probe.step: probe.symbol for probe in status.probes} == {
        "optimize": "hugetlb_vmemmap_optimize",
        "remap_range": "vmemmap_remap_range",
        "remap_pte": "vmemmap_remap_pte",
        "restore": "hugetlb_vmemmap_restore",
        "restore_pte": "vmemmap_restore_pte",
    }
    assert "batch" not in status.missed


def test_zeros_are_there_from_the_start() -> None:
    backend = SimBackend(kernel())
    totals = backend.observe().counters.totals
    assert {key for _, key in totals} == {PageKey(o, n) for o in (9, 13) for n in (0, 1)}
    assert {slot for slot, _ in totals} == set(SLOTS)
    assert set(totals.values()) == {0}


def test_operations_by_hand() -> None:
    backend = SimBackend(kernel())
    backend.start()
    assert backend.operate(GROW) == 23
    assert backend.observe().counters.total("frames_freed") == 138
    assert backend.observe().memmap == Memmap({"boot": 2 * 4096 - 138, "runtime": 0}, 138 * 4096)
    assert backend.operate(Operation("hvo", on=False)) == 0
    assert backend.observe().switch is False
    with pytest.raises(OperationError):
        backend.operate(Operation("shrink", 2 * MIB, 24))
    backend.stop()


def test_a_scenario_runs_by_itself() -> None:
    steps = Steps(GROW, SHRINK, GROW)
    waits: list[float] = []
    backend = SimBackend(
        kernel(), steps, time_scale=3, wait=lambda stopping, seconds: waits.append(seconds)
    )
    backend.start()
    steps.wait()
    assert backend.observe().status.ready
    backend.stop()
    assert waits == [0.5, 0.5, 0.5]
    assert backend.observe().counters.total("hugepages_optimized") == 46
    assert backend.observe().counters.total("hugepages_restored") == 23


def test_simulated_time_passes_between_steps() -> None:
    machine, steps = kernel(), Steps(GROW, SHRINK)
    start = machine.now_ns
    backend = SimBackend(machine, steps, time_scale=1000, wait=at_once)
    backend.start()
    steps.wait()
    backend.stop()
    assert 3.0 < (machine.now_ns - start) / 1e9 < 3.1


def test_stop_does_not_wait_for_the_next_step() -> None:
    backend = SimBackend(kernel(), [Step(3600.0, GROW)])
    backend.start()
    backend.stop()
    assert backend.observe().counters.total("optimize_calls") == 0
    assert not [t for t in threading.enumerate() if t.name == "hvoscope-sim"]


def test_stop_twice_and_without_start() -> None:
    backend = SimBackend(kernel())
    backend.stop()
    backend.start()
    backend.stop()
    backend.stop()
    assert backend.observe().status.problem == "not started"


def test_start_again_counts_from_zero() -> None:
    backend = SimBackend(kernel(), stream=True)
    for _ in range(2):
        backend.start()
        backend.operate(GROW)
        backend.stop()
        events = list(unpack_all(b"".join(backend.records())))
        assert backend.observe().counters.total("optimize_calls") == 23
        assert events[0].sequence == 0
        assert len(events) == 23 * 9


def test_a_scenario_goes_on_after_a_pause() -> None:
    grown = [threading.Event(), threading.Event()]

    def story() -> Iterator[Step]:
        yield Step(0.0, GROW)
        grown[0].set()
        yield Step(3600.0, SHRINK)  # cut short by the first stop, and not made up for
        yield Step(0.0, GROW)
        grown[1].set()

    backend = SimBackend(kernel(), story())
    for event in grown:
        backend.start()
        assert event.wait(30)
        backend.stop()
        assert backend.observe().counters.total("hugepages_optimized") == 23
        assert backend.observe().counters.total("hugepages_restored") == 0


def test_a_kernel_that_is_traced_already() -> None:
    machine = kernel()
    first, second = SimBackend(machine), SimBackend(machine)
    first.start()
    with pytest.raises(BackendError, match="traced already"):
        second.start()
    second.stop()
    assert first.operate(GROW) == 23
    assert first.observe().counters.total("optimize_calls") == 23
    assert not second.observe().status.ready


def test_a_broken_scenario_is_reported() -> None:
    backend = SimBackend(kernel(), Steps(SHRINK), wait=at_once)
    backend.start()
    for thread in threading.enumerate():
        if thread.name == "hvoscope-sim":
            thread.join(30)
    status = backend.observe().status
    assert not status.ready
    assert status.problem == "the scenario broke off: shrink 2MB 23: the pool has 0 pages"
    backend.stop()


def test_no_stream_no_records() -> None:
    backend = SimBackend(kernel())
    with pytest.raises(BackendError, match="without an event stream"):
        backend.records()
    assert backend.observe().status.lost == {}


def test_records_while_it_runs() -> None:
    steps = Steps(*[GROW, SHRINK] * 5)
    backend = SimBackend(kernel(), steps, stream=True, wait=at_once)
    backend.start()
    blocks: list[bytes] = []
    consumer = threading.Thread(target=lambda: blocks.extend(backend.records()))
    consumer.start()
    steps.wait()
    backend.stop()
    consumer.join(30)
    keys = [PageKey(order, node) for order in (9, 13) for node in (0, 1)]
    assert reduce(unpack_all(b"".join(blocks)), keys) == backend.observe().counters
    assert backend.observe().status.lost == {"queue": 0}


def test_a_consumer_may_come_before_the_start() -> None:
    backend = SimBackend(kernel(), stream=True)
    records = backend.records()
    backend.start()
    backend.operate(Operation("grow", 2 * MIB, 1))
    assert len(list(unpack_all(next(records)))) == 9
    backend.stop()
    assert list(records) == []


def test_a_sink_gets_every_record_and_is_waited_for() -> None:
    blocks: list[bytes] = []
    backend = SimBackend(kernel(), sink=blocks.append)
    backend.start()
    backend.operate(Operation("grow", 2 * MIB, 401))
    assert len(blocks) > 1
    assert len(list(unpack_all(b"".join(blocks)))) == 401 * 9
    backend.operate(SHRINK)
    backend.stop()
    keys = [PageKey(order, node) for order in (9, 13) for node in (0, 1)]
    assert reduce(unpack_all(b"".join(blocks)), keys) == backend.observe().counters
    assert backend.observe().status.lost == {}


def test_a_slow_consumer_loses_records_but_no_counts() -> None:
    backend = SimBackend(kernel(nodes=1), stream=True, queue_records=100)
    backend.start()
    backend.operate(GROW)
    backend.stop()
    kept = list(unpack_all(b"".join(backend.records())))
    assert [event.sequence for event in kept] == list(range(100))
    assert backend.observe().status.lost == {"queue": 23 * 9 - 100}
    assert backend.observe().counters.total("frames_freed") == 138


def test_bad_numbers() -> None:
    with pytest.raises(ValueError, match="above 0"):
        SimBackend(kernel(), time_scale=0)
    with pytest.raises(ValueError, match="above 0"):
        SimBackend(kernel(), queue_records=0)
