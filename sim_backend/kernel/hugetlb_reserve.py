# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb.c: pages that a task has mapped and not yet touched, and pages that are dissolved.

Counts are huge pages. Other functions return 0 or a negative errno.
"""

from collections import deque
from errno import EBUSY, ENOMEM

from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb import (
    add_hugetlb_page,
    enqueue_huge_page,
    free_huge_page,
    remove_hugetlb_page,
    remove_pool_huge_page,
    restore_vmemmap,
    update_and_free_page,
)
from sim_backend.kernel.hugetlb_resize import update_and_free_pages_bulk
from sim_backend.kernel.hugetlb_surplus import alloc_surplus_huge_page
from sim_backend.kernel.machine import Machine


def hugetlb_reserve_pages(m: Machine, h: Hstate, pages: int) -> int:
    """Reserve ``pages`` for a mapping, with nr_overcommit_hugepages as large as that takes."""
    lacking = h.resv_huge_pages + pages - h.free_huge_pages
    h.nr_overcommit_huge_pages = max(h.nr_overcommit_huge_pages, h.surplus_huge_pages + lacking)
    return gather_surplus_pages(m, h, pages)


def gather_surplus_pages(m: Machine, h: Hstate, delta: int) -> int:
    """Reserve ``delta`` more pages, and allocate those that the pool does not have."""
    surplus_list: deque[HugePage] = deque()
    needed = h.resv_huge_pages + delta - h.free_huge_pages
    for _ in range(needed):
        page = alloc_surplus_huge_page(m, h)
        if page is None:
            for extra in surplus_list:
                free_huge_page(m, h, extra)
            return -ENOMEM
        surplus_list.appendleft(page)
    h.resv_huge_pages += delta
    for page in surplus_list:
        enqueue_huge_page(h, page)
    return 0


def hugetlb_unreserve_pages(m: Machine, h: Hstate, pages: int) -> int:
    """The mapping goes, untouched: free as many pages as were surplus; how many were reserved.

    After return_unused_surplus_pages.
    """
    pages = min(pages, h.resv_huge_pages)
    page_list: deque[HugePage] = deque()
    for _ in range(0 if h.gigantic else min(pages, h.surplus_huge_pages)):
        page = remove_pool_huge_page(h, acct_surplus=True)
        if page is None:
            break
        page_list.appendleft(page)
    h.resv_huge_pages -= pages
    update_and_free_pages_bulk(m, h, page_list)
    return pages


def dissolve_free_huge_pages(m: Machine, h: Hstate, count: int) -> int:
    """Dissolve up to ``count`` free pages, lowest address first; how many it could."""
    free = sorted((page for pages in h.hugepage_freelists for page in pages), key=lambda p: p.pfn)
    return sum(dissolve_free_huge_page(m, h, page) == 0 for page in free[:count])


def dissolve_free_huge_page(m: Machine, h: Hstate, page: HugePage) -> int:
    """Turn a free page back into base pages: soft-offline, memory offline, alloc_contig_range."""
    if h.available_huge_pages <= 0:
        return -EBUSY
    remove_hugetlb_page(h, page, adjust_surplus=False)
    if ret := restore_vmemmap(m, h, page):
        add_hugetlb_page(h, page, adjust_surplus=False)
        return ret
    update_and_free_page(m, h, page, atomic=False)
    return 0
