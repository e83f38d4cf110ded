# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb.c: a task that uses more huge pages than the pool has, and then ends."""

from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb import (
    alloc_huge_page_from,
    dequeue_huge_page_node_exact,
    free_huge_page,
    prep_new_huge_page,
)
from sim_backend.kernel.machine import Machine


def alloc_surplus_huge_page(m: Machine, h: Hstate) -> HugePage | None:
    """Allocate one page beyond the pool, on the task's own node if it can be.

    None for a gigantic size, beyond nr_overcommit_hugepages, or without memory.
    """
    if h.gigantic or h.surplus_huge_pages >= h.nr_overcommit_huge_pages:
        return None
    for distance in range(h.nodes):
        page = alloc_huge_page_from(m, h, (m.numa_node_id() + distance) % h.nodes)
        if page is not None:
            prep_new_huge_page(m, h, page)
            h.surplus_huge_pages_node[page.nid] += 1
            return page
    return None


def map_huge_pages(m: Machine, h: Hstate, surplus: int) -> tuple[list[HugePage], int]:
    """Let the task use every free page of the pool that is not reserved, and ``surplus`` more.

    Returns the pages it got, and how many of them are surplus.
    """
    pages = []
    for nid in range(h.nodes):
        while h.available_huge_pages > 0 and (page := dequeue_huge_page_node_exact(h, nid)):
            pages.append(page)
    in_pool = len(pages)
    h.nr_overcommit_huge_pages = h.surplus_huge_pages + surplus
    for _ in range(surplus):
        page = alloc_surplus_huge_page(m, h)
        if page is None:
            break
        pages.append(page)
    return pages, len(pages) - in_pool


def fault_in_huge_pages(m: Machine, h: Hstate, count: int) -> int:
    """Let the task fault in ``count`` pages and keep them; returns how many it got."""
    for got in range(count):
        page = _dequeue_huge_page(m, h)
        if page is None:
            missing = h.surplus_huge_pages + count - got
            h.nr_overcommit_huge_pages = max(h.nr_overcommit_huge_pages, missing)
            page = alloc_surplus_huge_page(m, h)
        if page is None:
            return got
        h.hugepage_activelist.append(page)
    return count


def _dequeue_huge_page(m: Machine, h: Hstate) -> HugePage | None:
    """A free page of the pool, of the task's own node if it can be (dequeue_huge_page_vma)."""
    for distance in range(h.nodes if h.available_huge_pages > 0 else 0):
        page = dequeue_huge_page_node_exact(h, (m.numa_node_id() + distance) % h.nodes)
        if page is not None:
            return page
    return None


def exit_mmap(m: Machine, h: Hstate, pages: list[HugePage]) -> None:
    """The task ends: its pages go back to the pool, or away where there is surplus."""
    for page in pages:
        free_huge_page(m, h, page)
