# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb.c: what a write to nr_hugepages does.

A pool grows and shrinks page by page up to 6.6, by whole lists from 6.7 on.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from sim_backend.kernel.generation import PoolInterface
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb import (
    add_hugetlb_page,
    alloc_huge_page_from,
    enqueue_huge_page,
    free_huge_page,
    hstate_next_node_to_alloc,
    hstate_next_node_to_free,
    prep_account_new_huge_page,
    prep_new_huge_page,
    remove_pool_huge_page,
    update_and_free_page,
)
from sim_backend.kernel.hugetlb_vmemmap_folios import (
    hugetlb_vmemmap_optimize_folios,
    hugetlb_vmemmap_restore_folio,
    hugetlb_vmemmap_restore_folios,
)
from sim_backend.kernel.machine import Machine


class _Interface(NamedTuple):
    """How one ``PoolInterface`` moves many pages."""

    grow: Callable[[Machine, Hstate, int], None]
    """To this many persistent pages, or as near as memory allows."""
    add: Callable[[Machine, Hstate, Collection[HugePage]], None]
    """Pages that are new to the pool."""
    update_and_free_pages_bulk: Callable[[Machine, Hstate, Iterable[HugePage]], None]


def add_bootmem_pages(m: Machine, h: Hstate, pages: Collection[HugePage]) -> None:
    """Put gigantic pages of the command line into the pool (gather_bootmem_prealloc)."""
    _INTERFACES[m.generation.interface].add(m, h, pages)


def set_max_huge_pages(m: Machine, h: Hstate, count: int) -> None:
    """Make the pool ``count`` persistent pages large, as far as memory and use allow."""
    interface = _INTERFACES[m.generation.interface]
    while h.surplus_huge_pages and count > h.persistent_huge_pages:
        if not adjust_pool_surplus(h, -1):
            break
    if count > h.persistent_huge_pages:
        interface.grow(m, h, count)
        return
    in_use = h.resv_huge_pages + h.nr_huge_pages - h.free_huge_pages
    _shrink(m, h, max(count, in_use), interface)
    while count < h.persistent_huge_pages:
        if not adjust_pool_surplus(h, 1):
            break


def _shrink(m: Machine, h: Hstate, count: int, interface: _Interface) -> None:
    page_list: deque[HugePage] = deque()
    while count < h.persistent_huge_pages and (page := remove_pool_huge_page(h)):
        page_list.appendleft(page)
    interface.update_and_free_pages_bulk(m, h, page_list)


def update_and_free_pages_bulk(m: Machine, h: Hstate, pages: Iterable[HugePage]) -> None:
    """Restore and free pages that were removed; those that can't be restored are surplus."""
    _INTERFACES[m.generation.interface].update_and_free_pages_bulk(m, h, pages)


def adjust_pool_surplus(h: Hstate, delta: int) -> bool:
    """Move one page into (1) or out of (-1) surplus, nodes in turn; whether there was one."""
    turn = hstate_next_node_to_alloc if delta < 0 else hstate_next_node_to_free
    for _ in range(h.nodes):
        nid = turn(h)
        surplus = h.surplus_huge_pages_node[nid]
        if surplus if delta < 0 else surplus < h.nr_huge_pages_node[nid]:
            h.surplus_huge_pages_node[nid] += delta
            return True
    return False


def _alloc_pool_huge_page(m: Machine, h: Hstate) -> HugePage | None:
    for _ in range(h.nodes):
        page = alloc_huge_page_from(m, h, hstate_next_node_to_alloc(h))
        if page is not None:
            return page
    return None


def _grow_by_pages(m: Machine, h: Hstate, count: int) -> None:
    while count > h.persistent_huge_pages and (page := _alloc_pool_huge_page(m, h)):
        add_new_huge_pages(m, h, [page])


def add_new_huge_pages(m: Machine, h: Hstate, pages: Iterable[HugePage]) -> None:
    """Prepare each page alone and free it: into the pool, or away where its node has surplus."""
    for page in pages:
        prep_new_huge_page(m, h, page)
        free_huge_page(m, h, page)


def _free_pages(m: Machine, h: Hstate, pages: Iterable[HugePage]) -> None:
    for page in pages:
        update_and_free_page(m, h, page, atomic=False)


def _grow_by_list(m: Machine, h: Hstate, count: int) -> None:
    page_list: deque[HugePage] = deque()
    while count > h.persistent_huge_pages + len(page_list):
        page = _alloc_pool_huge_page(m, h)
        if page is None:
            break
        page_list.appendleft(page)
    prep_and_add_allocated_folios(m, h, page_list)


def prep_and_add_allocated_folios(m: Machine, h: Hstate, folios: Collection[HugePage]) -> None:
    """Optimise a list and put all of it into the pool, whatever surplus there is (6.7)."""
    hugetlb_vmemmap_optimize_folios(m, h, folios)
    for folio in folios:
        prep_account_new_huge_page(h, folio)
        enqueue_huge_page(h, folio)


def _free_list(m: Machine, h: Hstate, pages: Iterable[HugePage]) -> None:
    folio_list, non_hvo_folios = deque(pages), deque[HugePage]()
    while hugetlb_vmemmap_restore_folios(m, h, folio_list, non_hvo_folios) < 0:
        _bulk_vmemmap_restore_error(m, h, folio_list, non_hvo_folios)
    _free_pages(m, h, non_hvo_folios)


def _bulk_vmemmap_restore_error(
    m: Machine, h: Hstate, folio_list: deque[HugePage], non_hvo_folios: deque[HugePage]
) -> None:
    """Make way for another try: free what is restored, else give up pages until one works."""
    if non_hvo_folios:
        _free_pages(m, h, non_hvo_folios)
        non_hvo_folios.clear()
        return
    while folio_list:
        folio = folio_list.popleft()
        if hugetlb_vmemmap_restore_folio(m, h, folio) == 0:
            update_and_free_page(m, h, folio, atomic=False)
            return
        add_hugetlb_page(h, folio, adjust_surplus=True)


_INTERFACES: Mapping[PoolInterface, _Interface] = {
    PoolInterface.PAGES: _Interface(_grow_by_pages, add_new_huge_pages, _free_pages),
    PoolInterface.FOLIO_LISTS: _Interface(_grow_by_list, prep_and_add_allocated_folios, _free_list),
}
