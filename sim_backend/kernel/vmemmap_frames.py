# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb_vmemmap.c: free the frames that a remap took out of use, and allocate new ones.

What is done to one frame is followed by the same for a run of like ones, all at once.
"""

from collections.abc import Callable, Mapping
from errno import ENOMEM

from sim_backend.kernel.durations import ALLOC_FRAME, FREE_FRAME
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import (
    BOOT,
    IN_USE,
    Page,
    __free_page,
    alloc_pages_bulk_node,
    alloc_pages_node,
    free_alike,
    free_bootmem_page,
)
from sim_backend.kernel.generation import ListAdd, PoolInterface
from sim_backend.kernel.machine import Machine

LIST_ADD: Mapping[ListAdd, Callable[[FrameList, range], None]] = {
    ListAdd.FRONT: FrameList.add,
    ListAdd.BACK: FrameList.add_tail,
}


def free_vmemmap_page(m: Machine, page: Page) -> None:
    """Free a frame to where it came from: memblock's are reserved, others the buddy's."""
    m.clock.spend_each(FREE_FRAME)
    if page.reserved:
        m.nr_memmap_boot_pages -= 1
        free_bootmem_page(m.memory, page)
    else:
        m.nr_memmap_pages -= 1
        __free_page(m.memory, page)


def free_vmemmap_pages(m: Machine, pfns: range) -> bool:
    """``free_vmemmap_page`` for a run of frames; whether they were alike, so that it could."""
    state = m.memory.common_state(pfns)
    if state == BOOT:
        m.nr_memmap_boot_pages -= len(pfns)
    elif state == IN_USE:
        m.nr_memmap_pages -= len(pfns)
    else:
        return False
    m.clock.spend_each(FREE_FRAME, len(pfns))
    free_alike(m.memory, pfns, state)
    return True


def free_vmemmap_page_list(m: Machine, pages: FrameList) -> None:
    """Free all frames of the list."""
    for pfns in pages.take_all():
        if not (m.in_runs and free_vmemmap_pages(m, pfns)):
            for pfn in pfns:
                free_vmemmap_page(m, m.memory.pfn_to_page(pfn))


_THIS_NODE: Mapping[PoolInterface, bool] = {
    PoolInterface.PAGES: True,
    PoolInterface.FOLIO_LISTS: False,
}
"""__GFP_THISNODE was dropped in 6.7 (6a898c2757af for the head)."""


def alloc_vmemmap_page(m: Machine, nid: int) -> Page | None:
    """Allocate a frame for struct pages of node ``nid``; None if there is none."""
    m.clock.spend_each(ALLOC_FRAME)
    return alloc_pages_node(m.memory, nid, this_node=_THIS_NODE[m.generation.interface])


def alloc_vmemmap_pages(m: Machine, nid: int, count: int) -> FrameList:
    """``alloc_vmemmap_page`` up to ``count`` times, or up to the first that fails."""
    this_node = _THIS_NODE[m.generation.interface]
    if m.in_runs:
        pages = alloc_pages_bulk_node(m.memory, nid, count, this_node=this_node)
        m.clock.spend_each(ALLOC_FRAME, min(count, len(pages) + 1))
        return pages
    pages = FrameList()
    while count and (page := alloc_vmemmap_page(m, nid)):
        pages.add_tail(range(page.pfn, page.pfn + 1))
        count -= 1
    return pages


def alloc_vmemmap_page_list(m: Machine, start: int, end: int, pages: FrameList) -> int:
    """Allocate a frame for each page of [start, end), or none at all and -ENOMEM.

    ``pages`` must be empty.
    """
    count = (end - start) >> m.geometry.page_shift
    found = alloc_vmemmap_pages(m, m.vmemmap_to_nid(start), count)
    enough = len(found) == count
    list_add = LIST_ADD[m.generation.allocated]
    for pfns in found.take_all():
        list_add(pages, pfns)
    if not enough:
        for pfn in pages:
            __free_page(m.memory, m.memory.pfn_to_page(pfn))
        return -ENOMEM
    m.nr_memmap_pages += count
    return 0
