# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb.c: demote free huge pages to the next smaller size (from 5.16).

Functions return 0, how many pages they demoted, or a negative errno.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from errno import EBUSY

from sim_backend.kernel.generation import Demotion
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb import (
    add_hugetlb_page,
    hstate_next_node_to_free,
    remove_hugetlb_page,
    restore_vmemmap,
)
from sim_backend.kernel.hugetlb_resize import add_new_huge_pages, prep_and_add_allocated_folios
from sim_backend.kernel.hugetlb_vmemmap_folios import hugetlb_vmemmap_restore_folios
from sim_backend.kernel.machine import Machine


def demote_store(m: Machine, h: Hstate, target: Hstate, nr_demote: int) -> int:
    """Demote up to ``nr_demote`` pages of ``h``, as far as it has free ones; 0 or an errno."""
    demote_pool_huge_page = _DEMOTE[m.generation.demotion]
    while nr_demote and h.free_huge_pages > h.resv_huge_pages:
        demoted = demote_pool_huge_page(m, h, target, nr_demote)
        if demoted < 0:
            return demoted
        nr_demote -= demoted
    return 0


def _demote_pool_huge_page(m: Machine, h: Hstate, target: Hstate, _most: int) -> int:
    """One page, of the node whose turn it is; up to 6.10."""
    for _ in range(h.nodes):
        free = h.hugepage_freelists[hstate_next_node_to_free(h)]
        if free:
            return demote_free_huge_page(m, h, target, free[0]) or 1
    return -EBUSY


def demote_free_huge_page(m: Machine, h: Hstate, target: Hstate, page: HugePage) -> int:
    """Restore ``page``, then free its parts into the pool of ``target``; 0 or -ENOMEM."""
    remove_hugetlb_page(h, page, adjust_surplus=False)
    if ret := restore_vmemmap(m, h, page):
        add_hugetlb_page(h, page, adjust_surplus=False)
        return ret
    add_new_huge_pages(m, target, list(_parts(m, h, target, page)))
    return 0


def _demote_pool_huge_pages(m: Machine, h: Hstate, target: Hstate, most: int) -> int:
    """Up to ``most`` pages, node after node, each node's in one batch; 6.11 and later.

    A node without free pages has an empty batch.
    """
    left, ret = most, 0
    for _ in range(h.nodes):
        src_list = _remove_free_pages(h, hstate_next_node_to_free(h), left)
        left -= len(src_list)
        ret = demote_free_hugetlb_folios(m, h, target, src_list)
        for page in src_list:
            add_hugetlb_page(h, page, adjust_surplus=False)
            left += 1
        if ret < 0 or not left:
            break
    return ret if ret < 0 else most - left or -EBUSY


def _remove_free_pages(h: Hstate, nid: int, most: int) -> deque[HugePage]:
    """Take up to ``most`` free pages of one node off its pool; the last one taken is the first."""
    pages: deque[HugePage] = deque()
    while h.hugepage_freelists[nid] and len(pages) < most:
        page = h.hugepage_freelists[nid][0]
        remove_hugetlb_page(h, page, adjust_surplus=False)
        pages.appendleft(page)
    return pages


def demote_free_hugetlb_folios(
    m: Machine, h: Hstate, target: Hstate, src_list: deque[HugePage]
) -> int:
    """Restore what can be, and add its parts to ``target`` in one batch, be it empty.

    Leaves in ``src_list`` what could not be restored.
    """
    ret_list: deque[HugePage] = deque()
    ret = hugetlb_vmemmap_restore_folios(m, h, src_list, ret_list)
    # Behind one that could not be restored there may be some that need not be.
    demoted = [*ret_list, *(page for page in src_list if not page.vmemmap_optimized)]
    failed = [page for page in src_list if page.vmemmap_optimized]
    src_list.clear()
    src_list.extend(failed)
    dst_list: deque[HugePage] = deque()
    for page in demoted:
        dst_list.extendleft(_parts(m, h, target, page))
    prep_and_add_allocated_folios(m, target, dst_list)
    return min(ret, 0)


def _parts(m: Machine, h: Hstate, target: Hstate, page: HugePage) -> Iterator[HugePage]:
    """The pages that ``page`` falls into, by address.

    Where the frames of a restored page begin with copies of its head, those copies are the heads
    of the parts, and have its flag: it is cleared in the first only (init_new_hugetlb_folio). The
    further frames of a part begin with copies, too, and keep their page type (prep_compound_page).
    """
    frames = m.geometry.struct_bytes(target.size) // m.geometry.page_size
    for pfn in range(page.pfn, page.pfn + h.pages_per_huge_page, target.pages_per_huge_page):
        flagged = page.head_copies and frames > 0 and pfn != page.pfn
        copies = page.head_copies and frames > 1
        yield HugePage(pfn, page.nid, vmemmap_optimized=flagged, head_copies=copies)


_DEMOTE: Mapping[Demotion, Callable[[Machine, Hstate, Hstate, int], int]] = {
    Demotion.PART_BY_PART: _demote_pool_huge_page,
    Demotion.BATCHED: _demote_pool_huge_pages,
}
