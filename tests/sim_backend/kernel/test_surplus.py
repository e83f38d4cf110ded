# SPDX-License-Identifier: Apache-2.0
"""Pages beyond the pool: allocated by the task that needs them, freed by a kworker."""

import pytest

from probes.events import Event, Kind
from probes.geometry import MIB
from sim_backend.kernel.hugetlb import free_hpage_workfn
from sim_backend.kernel.hugetlb_resize import set_max_huge_pages
from sim_backend.kernel.hugetlb_surplus import alloc_surplus_huge_page, exit_mmap, map_huge_pages
from tests.sim_backend.harness import ALL, LISTS, OPTIMIZING, Traced, big


def tasks(events: list[Event]) -> set[bytes]:
    return {event.comm for event in events}


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_a_task_comes_and_goes(generation: str) -> None:
    traced = Traced(generation).run("overcommit 2MB 5")
    assert traced.total("hugepages_optimized") == traced.total("hugepages_restored") == 5
    assert tasks(traced.of(Kind.OPTIMIZE_ENTER, Kind.REMAP_PTE)) == {b"hugetlb-user"}
    assert tasks(traced.of(Kind.RESTORE_ENTER, Kind.RESTORE_PTE)) == {b"kworker/0:1"}
    assert traced.kernel.accounts().hugetlb == 0


@pytest.mark.parametrize("generation", ALL)
def test_the_pool_is_as_large_as_before(generation: str) -> None:
    traced = Traced(generation, nodes=2).run("grow 2MB 7", "overcommit 2MB 3")
    assert traced.total("optimize_calls") == 10
    assert sum(p.pages for p in traced.kernel.pools().by_node if p.state == "free") == 7
    assert sum(p.pages for p in traced.kernel.pools().by_node if p.state == "surplus") == 0


@pytest.mark.parametrize("generation", ["v17-enabled", "6.2"])
def test_pages_that_are_not_optimised_need_no_kworker(generation: str) -> None:
    traced = Traced(generation, hvo=False).run("overcommit 2MB 3")
    assert tasks(traced.of(Kind.RESTORE_ENTER)) == {b"hugetlb-user"}


@pytest.mark.parametrize("generation", LISTS)
def test_from_67_on_pages_that_are_not_optimised_are_not_restored(generation: str) -> None:
    traced = Traced(generation, hvo=False).run("overcommit 2MB 3", "grow 2MB 2", "shrink 2MB 2")
    assert traced.total("optimize_calls") == 5
    assert traced.of(Kind.RESTORE_ENTER) == []


def test_surplus_while_the_task_runs() -> None:
    traced = Traced().run("grow 2MB 2")
    machine = traced.kernel.machine
    (h,) = machine.hstates
    pages, surplus = map_huge_pages(machine, h, 3)
    assert (len(pages), surplus) == (5, 3)
    assert (h.nr_huge_pages, h.free_huge_pages, h.surplus_huge_pages) == (5, 0, 3)
    assert alloc_surplus_huge_page(machine, h) is None  # nr_overcommit_hugepages
    exit_mmap(machine, h, pages)
    assert (h.nr_huge_pages, h.free_huge_pages, h.surplus_huge_pages) == (2, 2, 0)
    assert len(machine.hpage_freelist) == 3


def test_the_pool_shrinks_under_a_running_task() -> None:
    traced = Traced().run("grow 2MB 5")
    machine = traced.kernel.machine
    (h,) = machine.hstates
    pages, _ = map_huge_pages(machine, h, 0)
    with pytest.raises(ValueError, match="no more than 0"):
        traced.run("shrink 2MB 2")
    assert (h.persistent_huge_pages, h.surplus_huge_pages) == (3, 2)
    exit_mmap(machine, h, pages)
    assert (h.nr_huge_pages, h.surplus_huge_pages) == (3, 0)


def test_a_surplus_page_that_the_kworker_cannot_restore_stays() -> None:
    traced = Traced("v17-enabled")
    machine = traced.kernel.machine
    (h,) = machine.hstates
    pages, _ = map_huge_pages(machine, h, 1)
    traced.kernel.hold_memory(0, leave=5)
    exit_mmap(machine, h, pages)
    assert (h.nr_huge_pages, h.surplus_huge_pages) == (0, 0)
    free_hpage_workfn(machine)
    assert (h.nr_huge_pages, h.free_huge_pages, h.surplus_huge_pages) == (1, 1, 1)
    assert traced.total("restore_failures", "ENOMEM") == 1


def test_growing_takes_pages_out_of_surplus_first() -> None:
    traced = Traced()
    machine = traced.kernel.machine
    (h,) = machine.hstates
    map_huge_pages(machine, h, 5)
    assert traced.run("grow 2MB 3").total("optimize_calls") == 5
    assert (h.persistent_huge_pages, h.surplus_huge_pages) == (3, 2)


def test_gigantic_pages_are_refused() -> None:
    traced = big()
    with pytest.raises(ValueError, match="gigantic"):
        traced.run("overcommit 1GB 1")
    assert traced.events == []


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_the_kworker_restores_the_page_that_was_freed_last_first(generation: str) -> None:
    """hpage_freelist is an llist: llist_add puts a page first, llist_del_all keeps the order."""
    traced = Traced(generation)
    traced.kernel.take(2 * MIB, 23)
    mapped = [event.start for event in traced.of(Kind.OPTIMIZE_ENTER)]
    traced.kernel.give(2 * MIB, 23)
    assert [event.start for event in traced.of(Kind.RESTORE_ENTER)] == mapped[::-1]


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_every_operation_ends_with_an_empty_list_of_the_kworker(generation: str) -> None:
    traced = big(generation)
    traced.kernel.take(2 * MIB, 5)
    for text in ("grow 1GB 1", "demote 1GB 1", "grow 2MB 3", "shrink 2MB 7", "overcommit 2MB 2"):
        traced.run(text)
        assert not traced.kernel.machine.hpage_freelist


def surplus_of(traced: Traced) -> list[int]:
    (h,) = traced.kernel.machine.hstates
    return h.surplus_huge_pages_node


def test_surplus_comes_of_the_next_node_if_that_of_the_cpu_is_full() -> None:
    """The zonelist of a node goes on with those behind it (find_next_best_node)."""
    traced = Traced(nodes=3)
    traced.kernel.pin(2)  # of node 1
    traced.kernel.hold_memory(1, leave=0)
    traced.kernel.take(2 * MIB, 5)
    assert surplus_of(traced) == [0, 0, 5]


def test_a_task_takes_free_pages_of_its_node_first_and_then_of_the_next() -> None:
    traced = Traced(nodes=3).run("grow 2MB 9")
    (h,) = traced.kernel.machine.hstates
    traced.kernel.pin(2)  # of node 1
    free = []
    for _ in range(4):
        traced.kernel.take(2 * MIB, 2)
        free.append(list(h.free_huge_pages_node))
    assert free == [[3, 1, 3], [3, 0, 2], [3, 0, 0], [1, 0, 0]]
    traced.kernel.take(2 * MIB, 1)
    assert (h.free_huge_pages, h.surplus_huge_pages) == (0, 0)


def test_pages_leave_and_enter_surplus_by_cursors_of_their_own() -> None:
    """adjust_pool_surplus: out by next_nid_to_alloc, in by next_nid_to_free."""
    traced = Traced(nodes=2).run("grow 2MB 1")  # of node 0, so that node 1 is next to allocate
    for cpu, pages in ((0, 3), (3, 2)):
        traced.kernel.pin(cpu)
        traced.kernel.take(2 * MIB, pages)
    assert surplus_of(traced) == [2, 2]
    traced.run("grow 2MB 1")
    assert surplus_of(traced) == [2, 1]
    traced.run("grow 2MB 1")
    assert surplus_of(traced) == [1, 1]
    with pytest.raises(ValueError, match="no more than 0"):
        traced.run("shrink 2MB 1")
    assert surplus_of(traced) == [2, 1]


def test_a_node_without_pages_has_no_surplus() -> None:
    traced = Traced(nodes=2)
    traced.kernel.hold_memory(0, leave=0)
    traced.run("grow 2MB 3")
    traced.kernel.take(2 * MIB, 3)
    with pytest.raises(ValueError, match="no more than 0"):
        traced.run("shrink 2MB 2")
    assert surplus_of(traced) == [0, 2]


@pytest.mark.parametrize("generation", LISTS)
def test_a_pool_that_grows_by_its_surplus_only_has_no_batch(generation: str) -> None:
    traced = Traced(generation)
    traced.kernel.take(2 * MIB, 5)
    traced.run("grow 2MB 3")
    assert surplus_of(traced) == [2]
    assert traced.of(Kind.BATCH_ENTER) == []


def test_the_size_that_the_pool_has_moves_no_page_into_or_out_of_surplus() -> None:
    """Of two pages on node 0 one is surplus, while the one on node 1 is free."""
    traced = Traced(nodes=2).run("grow 2MB 2")
    traced.kernel.pin(0)
    traced.kernel.take(2 * MIB, 1)
    machine = traced.kernel.machine
    (h,) = machine.hstates
    h.nr_overcommit_huge_pages = 1
    assert alloc_surplus_huge_page(machine, h)
    set_max_huge_pages(machine, h, 2)
    assert (surplus_of(traced), h.nr_huge_pages_node) == ([1, 0], [2, 1])


@pytest.mark.parametrize("generation", LISTS)
def test_a_page_that_cannot_be_restored_is_surplus_of_its_own_node(generation: str) -> None:
    traced = Traced(generation, nodes=2).run("grow 2MB 2")
    traced.kernel.pin(0)
    traced.kernel.take(2 * MIB, 1)
    traced.kernel.hold_memory(0, leave=0)
    traced.kernel.hold_memory(1, leave=0)
    with pytest.raises(ValueError, match="no more than 0"):
        traced.run("shrink 2MB 1")
    assert surplus_of(traced) == [0, 1]
