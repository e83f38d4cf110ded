# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb_vmemmap.c from 6.7 on: whole lists of huge pages (folios) at once.

Splitting, flushing the TLB and freeing happen once per list, not once per huge page.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from errno import ENOMEM

from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.generation import HeadFrame
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb_vmemmap import (
    alloc_huge_page_vmemmap,
    free_vmemmap_pages_per_hpage,
    trace_optimize_enter,
    vmemmap_get_tail,
    vmemmap_range,
)
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.sparse_vmemmap import free_vmemmap_page_list
from sim_backend.kernel.vmemmap_head import (
    alloc_vmemmap_head,
    vmemmap_remap_free_copying_head,
    vmemmap_remap_free_sharing_tail,
    vmemmap_remap_split,
)


def vmemmap_should_optimize_folio(m: Machine, h: Hstate, folio: HugePage) -> bool:
    """Whether it is not optimised yet, the switch is on and the size allows it."""
    return (
        not folio.vmemmap_optimized
        and m.vmemmap_optimize_enabled
        and free_vmemmap_pages_per_hpage(m, h) > 0
    )


def __hugetlb_vmemmap_optimize_folio(
    m: Machine, h: Hstate, folio: HugePage, pages: FrameList, *, flush: bool
) -> int:
    """Optimise one folio and put what is to be freed on ``pages``; 0 or a negative errno."""
    trace_optimize_enter(m, h, folio)
    ret = 0
    if vmemmap_should_optimize_folio(m, h, folio):
        ret = _REMAP_FREE[m.generation.head](m, h, folio, pages, flush)
        folio.vmemmap_optimized = ret == 0
    m.trace.optimize_exit(ret)
    return ret


def _copy_head(m: Machine, h: Hstate, folio: HugePage, pages: FrameList, flush: bool) -> int:
    start, end, reuse = vmemmap_range(m, h, folio)
    return vmemmap_remap_free_copying_head(m, start, end, reuse, pages=pages, flush=flush)


def _require_head(m: Machine, h: Hstate, folio: HugePage, pages: FrameList, flush: bool) -> int:
    tail = vmemmap_get_tail(m, h, folio.nid)
    if isinstance(tail, int):
        return tail
    head = alloc_vmemmap_head(m, folio.nid, pages)
    if head is None:
        return -ENOMEM
    _, end, start = vmemmap_range(m, h, folio)
    return vmemmap_remap_free_sharing_tail(
        m, start, end, head=head, tail=tail, pages=pages, flush=flush
    )


_REMAP_FREE: Mapping[HeadFrame, Callable[[Machine, Hstate, HugePage, FrameList, bool], int]] = {
    HeadFrame.COPIED: _copy_head,
    HeadFrame.REQUIRED: _require_head,
}


def hugetlb_vmemmap_optimize_folio(m: Machine, h: Hstate, folio: HugePage) -> None:
    """Optimise a single folio, as a page fault does."""
    pages = FrameList()
    __hugetlb_vmemmap_optimize_folio(m, h, folio, pages, flush=True)
    free_vmemmap_page_list(m, pages)


def hugetlb_vmemmap_split_folio(m: Machine, h: Hstate, folio: HugePage) -> int:
    """Split the huge PMDs that map the vmemmap of ``folio``; 0 or -ENOMEM."""
    if not vmemmap_should_optimize_folio(m, h, folio):
        return 0
    _, end, start = vmemmap_range(m, h, folio)
    return vmemmap_remap_split(m, start, end)


def hugetlb_vmemmap_optimize_folios(m: Machine, h: Hstate, folios: Iterable[HugePage]) -> None:
    """Optimise every folio: split all, remap all, then free all that became free."""
    m.trace.batch_enter(m.task, h.order)
    for folio in folios:
        if hugetlb_vmemmap_split_folio(m, h, folio) == -ENOMEM:
            break  # remapping frees memory, and can split what is left
    m.flush_tlb()
    pages = FrameList()
    for folio in folios:
        ret = __hugetlb_vmemmap_optimize_folio(m, h, folio, pages, flush=False)
        if ret == -ENOMEM and pages:
            m.flush_tlb()
            free_vmemmap_page_list(m, pages)
            __hugetlb_vmemmap_optimize_folio(m, h, folio, pages, flush=False)
    m.flush_tlb()
    free_vmemmap_page_list(m, pages)
    m.trace.batch_exit()


def hugetlb_vmemmap_restore_folio(m: Machine, h: Hstate, folio: HugePage) -> int:
    """Restore ``folio`` if it is optimised; 0 or -ENOMEM. Others don't come this far (6.7)."""
    return alloc_huge_page_vmemmap(m, h, folio) if folio.vmemmap_optimized else 0


def hugetlb_vmemmap_restore_folios(
    m: Machine, h: Hstate, folios: deque[HugePage], non_hvo_folios: deque[HugePage]
) -> int:
    """Restore folios and move them to ``non_hvo_folios``, up to the first that fails.

    Returns how many were restored, or -ENOMEM.
    """
    restored = ret = 0
    while folios and not ret:
        folio = folios[0]
        if folio.vmemmap_optimized:
            ret = alloc_huge_page_vmemmap(m, h, folio, flush=False)
            restored += ret == 0
        if not ret:
            non_hvo_folios.appendleft(folios.popleft())
    if restored:
        m.flush_tlb()
    return ret or restored
