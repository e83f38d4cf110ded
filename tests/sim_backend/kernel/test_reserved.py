# SPDX-License-Identifier: Apache-2.0
"""Reserved pages: a commitment to allocate from the pool, which nothing else may use.

Documentation/admin-guide/mm/hugetlbpage.rst, HugePages_Rsvd and HugePages_Surp.
"""

from errno import EBUSY, ENOMEM

import pytest

from probes.events import Kind
from probes.geometry import GIB, MIB
from probes.operations import Operation
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.generation import GENERATIONS, Demotion
from sim_backend.kernel.hstate import Hstate
from sim_backend.kernel.hugetlb_reserve import (
    dissolve_free_huge_page,
    gather_surplus_pages,
    hugetlb_unreserve_pages,
)
from sim_backend.kernel.hugetlb_surplus import exit_mmap, map_huge_pages
from tests.sim_backend.harness import ALL, OPTIMIZING, Traced, big


def pool(h: Hstate) -> tuple[int, int, int, int]:
    """HugePages_Total, _Free, _Rsvd, _Surp."""
    return h.nr_huge_pages, h.free_huge_pages, h.resv_huge_pages, h.surplus_huge_pages


SIZES = {"2MB": 2 * MIB, "1GB": GIB}


def do(traced: Traced, *operations: str) -> None:
    """As ``Traced.run``, with the verbs that only scenarios have, too."""
    for text in operations:
        verb, size, pages = text.split()
        traced.kernel.operate(Operation(verb, SIZES[size], int(pages)))
        traced.kernel.check_conservation()


def machine(*operations: str, generation: str = "v17-enabled") -> tuple[Traced, Hstate]:
    traced = Traced(generation)
    do(traced, *operations)
    return traced, traced.kernel.machine.hstates[0]


@pytest.mark.parametrize("generation", ALL)
def test_what_the_pool_lacks_is_allocated_as_surplus(generation: str) -> None:
    traced, h = machine("grow 2MB 2", generation=generation)
    do(traced, "reserve 2MB 1")
    assert (pool(h), h.nr_overcommit_huge_pages) == ((2, 2, 1, 0), 0)
    do(traced, "reserve 2MB 4")
    assert (pool(h), h.nr_overcommit_huge_pages) == ((5, 5, 5, 3), 3)
    assert traced.total("optimize_calls") == 5
    do(traced, "unreserve 2MB 5")
    assert pool(h) == (2, 2, 0, 0)
    assert len(traced.of(Kind.RESTORE_ENTER)) == 3


def test_only_as_many_pages_go_as_are_unreserved() -> None:
    traced, h = machine("grow 2MB 2", "reserve 2MB 7", "unreserve 2MB 2")
    assert pool(h) == (5, 5, 5, 3)
    with pytest.raises(OperationError, match="no reserved page but 5"):
        do(traced, "unreserve 2MB 6")
    assert pool(h) == (2, 2, 0, 0)


def test_a_reservation_without_memory_leaves_nothing_behind() -> None:
    traced, h = machine("grow 2MB 2")
    traced.kernel.hold_memory(0, leave=2 * 512)
    with pytest.raises(OperationError, match="memory for none of them"):
        do(traced, "reserve 2MB 5")
    traced.kernel.check_conservation()
    assert pool(h) == (2, 2, 0, 0)


def test_a_task_takes_what_is_not_reserved_before_surplus() -> None:
    traced, h = machine("grow 2MB 5", "reserve 2MB 4")
    traced.kernel.take(2 * MIB, 3)
    assert (pool(h), h.nr_overcommit_huge_pages) == ((7, 4, 4, 2), 2)
    traced.kernel.take(2 * MIB, 1)
    assert (pool(h), h.nr_overcommit_huge_pages) == ((8, 4, 4, 3), 3)


def test_a_task_that_overcommits_leaves_reserved_pages_alone() -> None:
    traced, h = machine("grow 2MB 5", "reserve 2MB 4")
    pages, surplus = map_huge_pages(traced.kernel.machine, h, 2)
    assert (len(pages), surplus) == (3, 2)
    assert pool(h) == (7, 4, 4, 2)
    exit_mmap(traced.kernel.machine, h, pages)
    assert pool(h) == (5, 5, 4, 0)


def test_a_task_has_what_there_was_when_memory_ends() -> None:
    traced, h = machine("grow 2MB 2")
    traced.kernel.hold_memory(0, leave=512)
    pages, surplus = map_huge_pages(traced.kernel.machine, h, 3)
    assert (len(pages), surplus) == (3, 1)
    assert pool(h) == (3, 0, 0, 1)


@pytest.mark.parametrize("generation", ALL)
def test_a_pool_does_not_shrink_below_what_is_reserved(generation: str) -> None:
    """set_max_huge_pages: the rest becomes surplus (h->resv_huge_pages + nr - free)."""
    traced, h = machine("grow 2MB 7", "reserve 2MB 3", generation=generation)
    with pytest.raises(OperationError):
        do(traced, "shrink 2MB 7")
    assert pool(h) == (3, 3, 3, 3)


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_demotion_asks_for_a_page_that_is_not_reserved(generation: str) -> None:
    """demote_store: h->free_huge_pages - h->resv_huge_pages, before each page or before a batch."""
    traced = big(generation)
    do(traced, "grow 1GB 3", "reserve 1GB 2")
    (h,) = (h for h in traced.kernel.machine.hstates if h.size == GIB)
    do(traced, "demote 1GB 1")
    assert pool(h) == (2, 2, 2, 0)
    with pytest.raises(OperationError, match="no more than 0"):
        do(traced, "demote 1GB 1")
    do(traced, "unreserve 1GB 1")
    if GENERATIONS[generation].demotion is Demotion.BATCHED:
        do(traced, "demote 1GB 2")
        assert pool(h) == (0, 0, 1, 0)  # demote_pool_huge_page takes what is free
        return
    with pytest.raises(OperationError, match="no more than 1"):
        do(traced, "demote 1GB 2")
    assert pool(h) == (1, 1, 1, 0)


def test_reserved_pages_are_not_dissolved() -> None:
    traced, h = machine("grow 2MB 5", "reserve 2MB 3")
    with pytest.raises(OperationError, match="no page but 2 that could be dissolved"):
        do(traced, "dissolve 2MB 4")
    assert pool(h) == (3, 3, 3, 0)


def test_pages_are_dissolved_from_the_lowest_address() -> None:
    traced, _ = machine("grow 2MB 7")
    lowest = sorted(page.pfn for page in traced.pages())[:3]
    do(traced, "dissolve 2MB 3")
    target = traced.kernel.machine.page_to_vmemmap
    restored = dict.fromkeys(event.start for event in traced.of(Kind.RESTORE_ENTER))
    assert list(restored) == [target(pfn) for pfn in lowest]


def test_a_page_that_cannot_be_restored_is_not_dissolved() -> None:
    traced, h = machine("grow 2MB 2")
    traced.kernel.hold_memory(0, leave=5)
    with pytest.raises(OperationError, match="no page but 0 that could be dissolved"):
        do(traced, "dissolve 2MB 1")
    traced.kernel.check_conservation()
    assert pool(h) == (2, 2, 0, 0)


def test_the_errors_are_the_kernels() -> None:
    traced, h = machine("grow 2MB 2", "reserve 2MB 2")
    (page, _) = traced.pages()
    assert dissolve_free_huge_page(traced.kernel.machine, h, page) == -EBUSY
    traced.kernel.hold_memory(0, leave=0)
    assert gather_surplus_pages(traced.kernel.machine, h, 1) == -ENOMEM


def test_surplus_in_use_stays_when_a_reservation_goes() -> None:
    """return_unused_surplus_pages: one node has the surplus, in use, the other the free page."""
    traced = Traced(nodes=2).run("grow 2MB 4")
    (h,) = traced.kernel.machine.hstates
    traced.kernel.take(2 * MIB, 3)
    (free,) = (page for pages in h.hugepage_freelists for page in pages)
    do(traced, "reserve 2MB 1")
    h.surplus_huge_pages_node[1 - free.nid] = 1
    assert hugetlb_unreserve_pages(traced.kernel.machine, h, 1) == 1
    assert pool(h) == (4, 1, 0, 1)


def test_gigantic_surplus_stays_when_a_reservation_goes() -> None:
    """return_unused_surplus_pages: "Cannot return gigantic pages currently"."""
    traced = big("7.1").run("grow 1GB 2")
    (h,) = (h for h in traced.kernel.machine.hstates if h.size == GIB)
    do(traced, "reserve 1GB 2")
    with pytest.raises(OperationError):
        do(traced, "shrink 1GB 1")
    assert pool(h) == (2, 2, 2, 1)
    do(traced, "unreserve 1GB 2")
    assert pool(h) == (2, 2, 0, 1)


def test_surplus_that_goes_is_of_a_node_that_has_some() -> None:
    """remove_pool_huge_page: it is node 0's turn, but only node 1 has surplus."""
    traced = Traced(nodes=2).run("grow 2MB 2")
    (h,) = traced.kernel.machine.hstates
    traced.kernel.pin(3)  # of node 1
    do(traced, "reserve 2MB 3")
    assert (h.nr_huge_pages_node, h.surplus_huge_pages_node) == ([1, 2], [0, 1])
    do(traced, "unreserve 2MB 3")
    assert (h.nr_huge_pages_node, h.surplus_huge_pages_node) == ([1, 1], [0, 0])
