# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb.c: huge pages on their way into a pool and out of it.

Names are those of 5.14 to 6.1. Counts are huge pages.
"""

from collections.abc import Callable, Mapping

from sim_backend.kernel.durations import ALLOC_HUGE, FREE_HUGE
from sim_backend.kernel.errors import vm_bug_on_page
from sim_backend.kernel.generation import PoolInterface
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb_vmemmap import alloc_huge_page_vmemmap, free_huge_page_vmemmap
from sim_backend.kernel.hugetlb_vmemmap_folios import (
    hugetlb_vmemmap_optimize_folio,
    hugetlb_vmemmap_restore_folio,
)
from sim_backend.kernel.machine import Machine

_OPTIMIZE: Mapping[PoolInterface, Callable[[Machine, Hstate, HugePage], None]] = {
    PoolInterface.PAGES: free_huge_page_vmemmap,
    PoolInterface.FOLIO_LISTS: hugetlb_vmemmap_optimize_folio,
}
_RESTORE: Mapping[PoolInterface, Callable[[Machine, Hstate, HugePage], int]] = {
    PoolInterface.PAGES: alloc_huge_page_vmemmap,
    PoolInterface.FOLIO_LISTS: hugetlb_vmemmap_restore_folio,
}


def hstate_next_node_to_alloc(h: Hstate) -> int:
    """The node whose turn it is to give a page; the turn passes on."""
    nid = h.next_nid_to_alloc
    h.next_nid_to_alloc = (nid + 1) % h.nodes
    return nid


def hstate_next_node_to_free(h: Hstate) -> int:
    """The node whose turn it is to lose a page; the turn passes on, found or not."""
    nid = h.next_nid_to_free
    h.next_nid_to_free = (nid + 1) % h.nodes
    return nid


def enqueue_huge_page(h: Hstate, page: HugePage) -> None:
    """Put ``page`` first on the free list of its node."""
    h.hugepage_freelists[page.nid].appendleft(page)
    h.free_huge_pages_node[page.nid] += 1
    page.freed = True


def dequeue_huge_page_node_exact(h: Hstate, nid: int) -> HugePage | None:
    """Take the first free page of node ``nid`` to be used; None if there is none."""
    if not h.hugepage_freelists[nid]:
        return None
    page = h.hugepage_freelists[nid].popleft()
    h.free_huge_pages_node[nid] -= 1
    page.freed = False
    return page


def alloc_huge_page_from(m: Machine, h: Hstate, nid: int) -> HugePage | None:
    """alloc_buddy_huge_page or alloc_gigantic_page on exactly node ``nid``; None without memory."""
    pfn = m.memory.alloc_pages(nid, h.order)
    if pfn is None:
        return None
    m.clock.spend(ALLOC_HUGE)
    return HugePage(pfn, nid)


def prep_new_huge_page(m: Machine, h: Hstate, page: HugePage) -> None:
    """Optimise a page that is new to the pool, and count it in."""
    _OPTIMIZE[m.generation.interface](m, h, page)
    prep_account_new_huge_page(h, page)


def prep_account_new_huge_page(h: Hstate, page: HugePage) -> None:
    """Count a new page in (__prep_account_new_huge_page)."""
    h.nr_huge_pages_node[page.nid] += 1


def remove_hugetlb_page(h: Hstate, page: HugePage, *, adjust_surplus: bool) -> None:
    """Take ``page`` out of the pool and its counts."""
    if page.freed:
        h.hugepage_freelists[page.nid].remove(page)
        h.free_huge_pages_node[page.nid] -= 1
    if adjust_surplus:
        h.surplus_huge_pages_node[page.nid] -= 1
    h.nr_huge_pages_node[page.nid] -= 1


def add_hugetlb_page(h: Hstate, page: HugePage, *, adjust_surplus: bool) -> None:
    """Put back a page that could not be restored, so could not be freed."""
    vm_bug_on_page(not page.vmemmap_optimized, "!HPageVmemmapOptimized(page)")
    h.nr_huge_pages_node[page.nid] += 1
    if adjust_surplus:
        h.surplus_huge_pages_node[page.nid] += 1
    enqueue_huge_page(h, page)


def remove_pool_huge_page(h: Hstate, *, acct_surplus: bool = False) -> HugePage | None:
    """Take a free page out of the pool, nodes in turn; None if no node has one.

    ``acct_surplus``: of a node with surplus, which then has one less.
    """
    for _ in range(h.nodes):
        nid = hstate_next_node_to_free(h)
        if h.hugepage_freelists[nid] and (not acct_surplus or h.surplus_huge_pages_node[nid]):
            page = h.hugepage_freelists[nid][0]
            remove_hugetlb_page(h, page, adjust_surplus=acct_surplus)
            return page
    return None


def restore_vmemmap(m: Machine, h: Hstate, page: HugePage) -> int:
    """Give ``page`` its vmemmap back before it leaves the pool; 0 or -ENOMEM."""
    return _RESTORE[m.generation.interface](m, h, page)


def update_and_free_page(m: Machine, h: Hstate, page: HugePage, *, atomic: bool) -> None:
    """Free a removed page, or leave that to a kworker where allocating memory is not allowed."""
    if page.vmemmap_optimized and atomic:
        m.hpage_freelist.appendleft((h, page))
    else:
        __update_and_free_page(m, h, page)


def __update_and_free_page(m: Machine, h: Hstate, page: HugePage) -> None:
    """Restore and free a removed page; one that can't be restored comes back as surplus."""
    if restore_vmemmap(m, h, page):
        add_hugetlb_page(h, page, adjust_surplus=True)
        return
    m.clock.spend(FREE_HUGE)
    if page.head_copies and m.init_on_alloc:
        # free_tail_page_prepare: "corrupted mapping in tail page". The whole page stays away, a
        # gigantic one too (hugetlb_free_folio; seen on Debian 6.12.118).
        m.lost_huge_frames += h.pages_per_huge_page
    else:
        m.memory.free_pages(page.pfn, h.order)


def free_hpage_workfn(m: Machine) -> None:
    """What the kworker does: free the pages that were left to it, the last one first."""
    while m.hpage_freelist:
        __update_and_free_page(m, *m.hpage_freelist.popleft())


def free_huge_page(m: Machine, h: Hstate, page: HugePage) -> None:
    """Free an unused ``page`` if its node has surplus; otherwise put it back on the list."""
    if h.surplus_huge_pages_node[page.nid]:
        remove_hugetlb_page(h, page, adjust_surplus=True)
        update_and_free_page(m, h, page, atomic=True)
    else:
        enqueue_huge_page(h, page)
