# SPDX-License-Identifier: Apache-2.0
"""A 1 GB page becomes 512 pages of 2 MB: restored once, optimised 512 times."""

from errno import ENOMEM

import pytest

from probes.events import Kind
from probes.geometry import GIB, MIB
from probes.operations import parse_operation
from sim_backend.kernel.durations import FLUSH_TLB
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.generation import GENERATIONS, Demotion, HeadFrame
from sim_backend.kernel.hugetlb_demote import demote_store
from tests.sim_backend.harness import (
    OPTIMIZING,
    CountingClock,
    Traced,
    big,
    since,
)

BATCHED = [name for name, g in GENERATIONS.items() if g.demotion is Demotion.BATCHED]
PART_BY_PART = [name for name in OPTIMIZING if name not in BATCHED]
CORRUPTED = [n for n, g in GENERATIONS.items() if g.head is HeadFrame.REQUIRED_SHARED]
"""Their restore copies the flag of the head into 511 of 512 parts: test_restore_without_reset."""
SOUND = [name for name in OPTIMIZING if name not in CORRUPTED]
# Frames: restored, then freed less heads. kernel-history.md: net -511 from 5.18 on.
NET = since({"v17-enabled": 512 * 6 - 4094, "5.18": -511})


def totals_of_1gb(traced: Traced) -> list[int]:
    """1 GB pages by node."""
    return [p.pages for p in traced.kernel.pools().by_node if (p.size, p.state) == (GIB, "total")]


@pytest.mark.parametrize("generation", SOUND)
def test_one_page_becomes_512(generation: str) -> None:
    traced = big(generation).run("grow 1GB 1")
    before = traced.kernel.accounts().memmap
    traced.events.clear()
    traced.run("demote 1GB 1")
    assert traced.total("hugepages_restored") == 1
    assert traced.total("optimize_calls") == traced.total("hugepages_optimized") == 512
    assert before - traced.kernel.accounts().memmap == NET[generation]
    pools = {(p.size >> 20, p.state): p.pages for p in traced.kernel.pools().by_node}
    assert pools[1024, "total"] == 0
    assert pools[2, "total"] == pools[2, "free"] == 512


def test_they_can_all_be_freed_and_become_one_again() -> None:
    traced = big("v17-enabled").run("grow 1GB 1")
    (page,) = traced.pages(1 << 30)
    traced.run("demote 1GB 1", "shrink 2MB 512", "grow 1GB 1")
    assert [again.pfn for again in traced.pages(1 << 30)] == [page.pfn]


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_the_parts_stay_on_the_node_whose_turn_it_is_to_free(generation: str) -> None:
    """After three pages the cursor of allocations is at node 1, that of frees at node 0."""
    traced = big(generation, nodes=2).run("grow 1GB 3")
    traced.events.clear()
    traced.run("demote 1GB 1")
    assert {event.node for event in traced.of(Kind.OPTIMIZE_ENTER)} == {0}
    assert totals_of_1gb(traced) == [1, 1]


@pytest.mark.parametrize("generation", PART_BY_PART)
def test_parts_are_optimised_alone_and_in_order(generation: str) -> None:
    clock = CountingClock(0)
    traced = big(generation, clock=clock).run("grow 1GB 1")
    traced.events.clear()
    clock.spent.clear()
    traced.run("demote 1GB 1")
    starts = [event.start for event in traced.of(Kind.OPTIMIZE_ENTER)]
    assert starts == sorted(starts)
    assert traced.of(Kind.BATCH_ENTER) == []
    assert clock.spent[FLUSH_TLB] == 1 + 512  # c5ad3233: one restore, 512 single optimisations


@pytest.mark.parametrize("generation", [name for name in BATCHED if name in SOUND])
def test_two_pages_of_a_node_are_one_batch_from_last_part_to_first(generation: str) -> None:
    clock = CountingClock(0)
    traced = big(generation, clock=clock).run("grow 1GB 2")
    traced.events.clear()
    clock.spent.clear()
    traced.run("demote 1GB 2")
    restored = [event.start for event in traced.of(Kind.RESTORE_ENTER)]
    parts = [event.start for event in traced.of(Kind.OPTIMIZE_ENTER)]
    assert len(parts) == 1024
    assert parts[:512] == sorted(parts[:512], reverse=True)
    assert parts[512:] == sorted(parts[512:], reverse=True)
    # Removed first, restored last; prepared first, so on the list last.
    assert parts[511] == restored[0]
    assert parts[1023] == restored[1]
    assert [event.ptes for event in traced.of(Kind.BATCH_EXIT)] == [1024 * 8]
    assert clock.spent[FLUSH_TLB] == 3  # flush_tlb_all: restores, splits, remaps


@pytest.mark.parametrize("generation", BATCHED)
def test_demotion_takes_all_pages_of_a_node_before_the_next(generation: str) -> None:
    traced = big(generation, nodes=2).run("grow 1GB 4")
    traced.events.clear()
    traced.run("demote 1GB 2")
    assert {event.node for event in traced.of(Kind.RESTORE_ENTER)} == {0}
    assert len(traced.of(Kind.BATCH_ENTER)) == 1


@pytest.mark.parametrize("generation", PART_BY_PART)
def test_demotion_takes_nodes_in_turn_before_611(generation: str) -> None:
    traced = big(generation, nodes=2).run("grow 1GB 4")
    traced.events.clear()
    traced.run("demote 1GB 2")
    assert [event.node for event in traced.of(Kind.RESTORE_ENTER)] == [0, 1]


@pytest.mark.parametrize("generation", BATCHED)
def test_a_node_without_free_pages_has_an_empty_batch(generation: str) -> None:
    traced = big(generation, nodes=2)
    traced.kernel.hold_memory(0, leave=512)
    traced.run("grow 1GB 1")
    traced.kernel.release_memory()
    traced.events.clear()
    traced.run("demote 1GB 1")
    batches = traced.of(Kind.BATCH_EXIT)
    assert [event.ptes > 0 for event in batches] == [False, True]
    assert {event.node for event in traced.of(Kind.OPTIMIZE_ENTER)} == {1}


@pytest.mark.parametrize("generation", BATCHED)
def test_a_failed_restore_is_followed_by_an_empty_batch(generation: str) -> None:
    traced = big(generation).run("grow 1GB 1")
    traced.kernel.hold_memory(0, leave=4094)
    traced.events.clear()
    with pytest.raises(OperationError, match="memory to restore no more than 0"):
        traced.kernel.operate(parse_operation("demote 1GB 1"))
    kinds = [event.kind for event in traced.events]
    assert kinds == [Kind.RESTORE_ENTER, Kind.RESTORE_EXIT, Kind.BATCH_ENTER, Kind.BATCH_EXIT]
    assert len(traced.pages(GIB)) == 1
    traced.kernel.check_conservation()


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_the_result_is_zero_or_the_errno_and_what_failed_is_no_surplus(generation: str) -> None:
    traced = big(generation).run("grow 1GB 2")
    machine = traced.kernel.machine
    small, large = sorted(machine.hstates, key=lambda h: h.size)
    assert demote_store(machine, large, small, 1) == 0
    traced.kernel.hold_memory(0, leave=0)
    assert demote_store(machine, large, small, 1) == -ENOMEM
    assert (large.nr_huge_pages, large.free_huge_pages, large.surplus_huge_pages) == (1, 1, 0)


@pytest.mark.parametrize(("generation", "flushes"), [("6.11", 2), ("7.1", 2), ("7.3", 0)])
def test_an_empty_list_flushes_nothing_from_73_on(generation: str, flushes: int) -> None:
    clock = CountingClock(0)
    traced = big(generation, clock=clock).run("grow 1GB 1")
    traced.kernel.hold_memory(0, leave=4094)
    clock.spent.clear()
    with pytest.raises(OperationError):
        traced.kernel.operate(parse_operation("demote 1GB 1"))
    assert clock.spent[FLUSH_TLB] == flushes


@pytest.mark.parametrize("generation", BATCHED)
def test_pages_that_memory_sufficed_for_are_demoted(generation: str) -> None:
    """One of two pages is restored; the other one goes back to the pool."""
    traced = big(generation).run("grow 1GB 2")
    traced.kernel.hold_memory(0, leave=4095 + 512)
    with pytest.raises(OperationError, match="memory to restore no more than 1"):
        traced.kernel.operate(parse_operation("demote 1GB 2"))
    assert [len(traced.pages(size)) for size in (GIB, 2 * MIB)] == [1, 512]
    traced.kernel.check_conservation()


@pytest.mark.parametrize("generation", BATCHED)
def test_pages_that_need_no_restore_are_demoted_behind_one_that_failed(generation: str) -> None:
    """The list begins with the page that was removed last: the optimised one, grown first."""
    traced = big(generation).run("grow 1GB 1", "hvo off", "grow 1GB 1")
    traced.kernel.hold_memory(0, leave=4094)
    with pytest.raises(OperationError, match="memory to restore no more than 1"):
        traced.kernel.operate(parse_operation("demote 1GB 2"))
    assert [page.vmemmap_optimized for page in traced.pages(GIB)] == [True]
    assert len(traced.pages(2 * MIB)) == 512
    traced.kernel.check_conservation()


@pytest.mark.parametrize("generation", PART_BY_PART)
def test_surplus_of_the_target_pool_goes_away_as_parts(generation: str) -> None:
    """`take`, `grow`, `demote`: one part is freed in place of the surplus page that is in use."""
    traced = big(generation)
    traced.kernel.take(2 * MIB, 1)
    traced.run("grow 1GB 1", "demote 1GB 1")
    pools = {p.state: p.pages for p in traced.kernel.pools().by_node if p.size == 2 * MIB}
    assert pools == {"total": 512, "free": 511, "surplus": 0}
    assert traced.total("hugepages_restored") == 2
    assert {e.comm for e in traced.of(Kind.RESTORE_ENTER)} == {b"bash", b"kworker/0:1"}
    assert not traced.kernel.machine.hpage_freelist


@pytest.mark.parametrize("generation", BATCHED)
def test_surplus_of_the_target_pool_stays_where_parts_are_a_list(generation: str) -> None:
    traced = big(generation)
    traced.kernel.take(2 * MIB, 1)
    traced.run("grow 1GB 1", "demote 1GB 1")
    pools = {p.state: p.pages for p in traced.kernel.pools().by_node if p.size == 2 * MIB}
    assert pools == {"total": 513, "free": 512, "surplus": 1}


def test_parts_smaller_than_a_page_of_struct_pages_are_not_optimised() -> None:
    traced = Traced("6.11", sizes=(64 << 10, 2 * MIB)).run("grow 2MB 1", "demote 2MB 1")
    assert traced.total("hugepages_optimized") == 1
    assert len(traced.pages(64 << 10)) == 32
