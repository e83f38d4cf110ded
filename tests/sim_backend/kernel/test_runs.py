# SPDX-License-Identifier: Apache-2.0
"""Runs of PTEs and frames at once, and one by one: the same events, page tables and frames."""

from collections import Counter

import pytest
from hypothesis import given, settings

from probes.events import RECORD, Event
from probes.geometry import GIB, MIB
from probes.operations import Operation, parse_operation
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.generation import PoolInterface
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb_vmemmap import free_huge_page_vmemmap
from sim_backend.kernel.hugetlb_vmemmap_folios import hugetlb_vmemmap_optimize_folio
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pte_run import PteRun
from sim_backend.kernel.sim_kernel import SimKernel
from tests.sim_backend.harness import ALL, OPTIMIZING, big
from tests.sim_backend.strategies import Step, Workload, attempt, machine, workloads


def struct_page(machine: Machine, pfn: int) -> tuple[int, int, int]:
    page = machine.memory.pfn_to_page(pfn)
    return pfn, page.refcount, page.freelist


def optimize_alone(m: Machine, h: Hstate, page: HugePage) -> None:
    """As in a page fault, so that nothing is split for a whole list beforehand."""
    if m.generation.interface is PoolInterface.PAGES:
        free_huge_page_vmemmap(m, h, page)
    else:
        hugetlb_vmemmap_optimize_folio(m, h, page)


class Recorded:
    """A kernel with a tracer that takes runs, and the records of all events."""

    def __init__(self, kernel: SimKernel, *, one_by_one: bool) -> None:
        self.kernel = kernel
        self.kernel.machine.one_by_one = one_by_one
        self.records = bytearray()
        self.taken: Counter[str] = Counter()
        kernel.attach(self._emit, self._emit_run)

    def _emit(self, event: Event) -> None:
        self.taken["events"] += 1
        self.records += event.pack()

    def _emit_run(self, run: PteRun) -> None:
        self.taken["runs"] += 1
        self.records += run.pack()

    def attempt(self, operation: Operation) -> str:
        try:
            return str(self.kernel.operate(operation))
        except OperationError as refusal:
            return str(refusal)

    def everything(self) -> tuple[object, ...]:
        """All that can be told apart; takes the free frames, so it comes last."""
        machine = self.kernel.machine
        frames = machine.memory.frames_per_node * len(machine.memory.nodes)
        pages = frames * 64 // machine.geometry.page_size
        start, step = machine.page_to_vmemmap(0), machine.geometry.page_size
        return (
            bytes(self.records),
            self.kernel.now_ns,
            self.kernel.accounts(),
            [machine.init_mm.translate(start + i * step) for i in range(pages)],
            [node.buddy.runs() for node in machine.memory.nodes],
            [struct_page(machine, pfn) for run in machine.init_mm.mapped_runs() for pfn in run],
            # The order in which they are handed out is all that the lists of the allocator are.
            [[node.buddy.alloc(0) for _ in range(9999)] for node in machine.memory.nodes],
        )


def do_both_ways(workload: Workload) -> None:
    generation, seed, todo = workload
    both = [
        Recorded(machine(generation, seed), one_by_one=one_by_one) for one_by_one in (False, True)
    ]
    for step in todo:
        outcomes = set()
        for recorded in both:
            outcomes.add(attempt(step, recorded.kernel))
        assert len(outcomes) == 1
    in_runs, one_by_one = both
    assert one_by_one.taken["runs"] == 0
    assert in_runs.everything() == one_by_one.everything()


@pytest.mark.parametrize("generation", ALL)
def test_the_same_comes_of_a_long_day(generation: str) -> None:
    """There and back, mixed sizes, frames of both allocators, and memory that runs out half-way."""
    todo: list[Step] = [
        Operation("grow", 32 * MIB, 5),
        Operation("grow", 2 * MIB, 23),
        Operation("shrink", 32 * MIB, 3),
        Operation("shrink", 2 * MIB, 11),
        Operation("demote", 32 * MIB, 1),
        Operation("grow", 32 * MIB, 2),
        100,
        Operation("shrink", 32 * MIB, 2),
        Operation("shrink", 2 * MIB, 23),
        5,
        Operation("shrink", 2 * MIB, 5),
        None,
        Operation("shrink", 2 * MIB, 3),
        Operation("grow", 2 * MIB, 7),
    ]
    do_both_ways((generation, 5, todo))


@pytest.mark.parametrize(
    ("generation", "spare"),
    [("5.14", 3), ("5.18", 3), ("6.2", 4), ("6.7", 4), ("6.12.114", 4), ("7.1", 5)],
)
def test_the_same_comes_of_a_roll_back(generation: str, spare: int) -> None:
    """Memory for some of the eight tables that a 1 GB page needs, so that it is undone half-way."""
    both = []
    for one_by_one in (False, True):
        kernel = SimKernel(generation, memory_per_node=4 * GIB, hvo=False)
        recorded = Recorded(kernel, one_by_one=one_by_one)
        recorded.attempt(parse_operation("grow 1GB 1"))
        recorded.attempt(parse_operation("hvo on"))
        kernel.hold_memory(0, leave=spare)
        m = kernel.machine
        optimize_alone(m, m.hstates[0], m.hstates[0].hugepage_freelists[0][0])
        kernel.check_conservation()
        both.append(recorded.everything())
    assert both[0] == both[1]


@settings(max_examples=20, deadline=None)
@given(workload=workloads)
def test_the_same_comes_of_any_workload(workload: Workload) -> None:
    do_both_ways(workload)


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_pages_there_and_back_take_the_same_time(generation: str) -> None:
    both = []
    for one_by_one in (False, True):
        kernel = SimKernel(generation, memory_per_node=128 * MIB)
        recorded = Recorded(kernel, one_by_one=one_by_one)
        for text in ("grow 2MB 3", "shrink 2MB 2", "grow 2MB 1"):
            recorded.attempt(parse_operation(text))
            kernel.check_conservation()
        assert (recorded.taken["runs"] == 0) is one_by_one
        both.append((bytes(recorded.records), kernel.now_ns, kernel.accounts()))
    assert both[0] == both[1]


def test_runs_are_what_it_works_on() -> None:
    for generation in OPTIMIZING:
        kernel = SimKernel(generation, memory_per_node=4 * GIB)
        recorded = Recorded(kernel, one_by_one=False)
        for text in ("grow 1GB 1", "shrink 1GB 1"):
            assert recorded.attempt(parse_operation(text)) == "1"
        assert recorded.taken["runs"] == 16
        assert recorded.taken["events"] < 16


def test_probes_that_miss_hits_get_them_one_by_one() -> None:
    kernel = SimKernel("v17-enabled", memory_per_node=4 * GIB)
    recorded = Recorded(kernel, one_by_one=False)
    kernel.machine.trace.miss("remap_pte", 5)
    recorded.attempt(parse_operation("grow 1GB 1"))
    # The first of eight tables is walked PTE by PTE, less the two reserved pages.
    assert recorded.taken == {"events": 3 + 510 - 5, "runs": 7}
    assert len(recorded.records) == (3 + 4094 - 5) * RECORD.size
    kernel.machine.trace.detach_probe("restore_pte")
    recorded.attempt(parse_operation("shrink 1GB 1"))
    assert recorded.taken["runs"] == 7


def test_without_a_taker_of_runs_every_event_is_an_event() -> None:
    assert len(big().run("grow 1GB 1").events) == 4094 + 3


def test_scattered_frames_make_short_runs() -> None:
    # Every other frame is held, so that restored pages get frames that are not neighbours.
    kernel = machine("v17-enabled", 0)
    recorded = Recorded(kernel, one_by_one=False)
    recorded.attempt(Operation("grow", 32 * MIB, 2))
    for node in kernel.machine.memory.nodes:
        for start, end in node.buddy.take_all():
            for pfn in range(start, end, 2):
                node.buddy.free(pfn, 0)
    assert recorded.attempt(Operation("shrink", 32 * MIB, 1)) == "1"
    before = recorded.taken["runs"]
    # Growing again needs a contiguous page, which is the one just given back.
    assert recorded.attempt(Operation("grow", 32 * MIB, 1)) == "1"
    assert recorded.taken["runs"] == before
    pages = kernel.machine.hstates[0].hugepage_freelists[0]
    mm, address_of = kernel.machine.init_mm, kernel.machine.page_to_vmemmap
    for page in pages:
        own, shared, *rest = (mm.translate(address_of(page.pfn) + i * 4096).pfn for i in range(128))
        assert own != shared
        assert set(rest) == {shared}
