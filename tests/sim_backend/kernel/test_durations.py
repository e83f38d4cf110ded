# SPDX-License-Identifier: Apache-2.0
"""Simulated times fall where the v17 cover letter puts them."""

from itertools import pairwise
from statistics import median

import pytest

from probes.events import Kind
from probes.geometry import MIB
from sim_backend.kernel.durations import ALLOC_FRAME, FLUSH_TLB, Clock, Cost
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.vmemmap_frames import alloc_vmemmap_page_list
from tests.sim_backend.harness import LISTS, OPTIMIZING, CountingClock, Traced, big, since


def durations(traced: Traced, kind: Kind) -> list[int]:
    return [event.duration_ns for event in traced.of(kind)]


def test_2mb_pages_take_microseconds() -> None:
    traced = big("v17-enabled").run("grow 2MB 509", "shrink 2MB 509")
    there, back = durations(traced, Kind.OPTIMIZE_EXIT), durations(traced, Kind.RESTORE_EXIT)
    assert 3_000 < min(there) < max(there) < 32_000
    assert 5_000 < min(back) < max(back) < 40_000
    assert median(there) < median(back)
    assert max(there) > 1.5 * min(there)
    assert max(back) > 1.5 * min(back)


def test_a_1gb_page_takes_milliseconds() -> None:
    traced = big("v17-enabled").run("grow 1GB 1")
    (there,) = durations(traced, Kind.OPTIMIZE_EXIT)
    assert 1_000_000 < there < 20_000_000


def test_time_passes_between_pages() -> None:
    traced = Traced("v17").run("grow 2MB 5", "shrink 2MB 5")
    enters = [event.timestamp_ns for event in traced.of(Kind.OPTIMIZE_ENTER)]
    assert all(later - earlier > 3_000 for earlier, later in pairwise(enters))
    leaves = [event.timestamp_ns for event in traced.of(Kind.RESTORE_EXIT)]
    assert all(later - earlier > 3_000 for earlier, later in pairwise(leaves))


def test_doing_nothing_takes_next_to_nothing() -> None:
    traced = Traced("v17").run("grow 2MB 23")
    assert max(durations(traced, Kind.OPTIMIZE_EXIT)) < 1_000


def test_a_list_flushes_the_tlb_less_often() -> None:
    counted = {generation: CountingClock(0) for generation in ("6.2", "6.7")}
    one_by_one, list_ = (
        big(generation, clock=clock).run("grow 2MB 509") for generation, clock in counted.items()
    )
    # Once per page, and once for each table that a section of 128 MB needs; against twice.
    sections = {page.pfn // 32_768 for page in one_by_one.pages()}
    assert counted["6.2"].spent[FLUSH_TLB] == 509 + len(sections)
    assert counted["6.7"].spent[FLUSH_TLB] == 2
    one_by_one.run("shrink 2MB 509")
    assert counted["6.2"].spent[FLUSH_TLB] == 2 * 509 + len(sections)
    list_.run("shrink 2MB 509")
    assert counted["6.7"].spent[FLUSH_TLB] == 3
    there = median(durations(list_, Kind.OPTIMIZE_EXIT))
    assert there < median(durations(one_by_one, Kind.OPTIMIZE_EXIT))


@pytest.mark.parametrize("generation", [name for name in OPTIMIZING if name not in LISTS])
def test_before_67_each_page_flushes_the_tlb(generation: str) -> None:
    clock = CountingClock(0)
    traced = Traced(generation, clock=clock).run("grow 2MB 5")
    splits = since({"v17-enabled": 0, "5.14": 1})[generation]
    assert clock.spent[FLUSH_TLB] == 5 + splits
    traced.run("shrink 2MB 3")
    assert clock.spent[FLUSH_TLB] == 5 + splits + 3


@pytest.mark.parametrize("generation", LISTS)
def test_a_fault_and_its_end_flush_the_tlb_for_the_page_alone(generation: str) -> None:
    clock = CountingClock(0)
    kernel = Traced(generation, clock=clock).kernel
    kernel.take(2 * MIB, 1)
    assert clock.spent[FLUSH_TLB] == 2  # of the split and of the remap
    kernel.take(2 * MIB, 1)
    assert clock.spent[FLUSH_TLB] == 3
    kernel.give(2 * MIB, 2)
    assert clock.spent[FLUSH_TLB] == 5


@pytest.mark.parametrize("generation", LISTS)
def test_a_restore_that_fails_half_way_has_flushed_the_tlb(generation: str) -> None:
    """hugetlb_vmemmap_restore_folios: once per call in which a folio was restored."""
    clock = CountingClock(0)
    traced = Traced(generation, clock=clock).run("grow 2MB 23")
    traced.kernel.hold_memory(0, leave=7)
    clock.spent.clear()
    traced.run("shrink 2MB 23")
    assert traced.total("restore_failures", "ENOMEM") == 1
    assert clock.spent[FLUSH_TLB] == 2


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize(("spare", "tries"), [(9, 7), (7, 7), (6, 7), (5, 6), (0, 1)])
def test_an_allocation_takes_time_up_to_the_first_frame_that_is_lacking(
    spare: int, tries: int, one_by_one: bool
) -> None:
    traced = Traced("6.2")
    m = traced.kernel.machine
    m.one_by_one = one_by_one
    traced.kernel.hold_memory(0, leave=spare)
    start, before = m.page_to_vmemmap(0), m.clock.now_ns
    alloc_vmemmap_page_list(m, start, start + 7 * 4096, FrameList())
    assert m.clock.now_ns - before == tries * m.clock.each_ns(ALLOC_FRAME)


def test_the_clock_spends_within_the_cost() -> None:
    clock = Clock(seed=0, start_ns=0)
    for _ in range(1000):
        before = clock.now_ns
        clock.spend(Cost(100, 200))
        assert 100 <= clock.now_ns - before < 200


def test_load_stretches_a_page() -> None:
    clock = Clock(seed=0, start_ns=0)
    spent = []
    for _ in range(1000):
        before = clock.now_ns
        clock.draw_load()
        clock.spend(Cost(1000, 1000))
        spent.append(clock.now_ns - before)
    assert min(spent) >= 750
    assert 1_500 < max(spent) <= 2000
