# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb_vmemmap.c from 6.7 on: whole lists of huge pages (folios) at once.

Splitting, flushing the TLB and freeing happen once per list, not once per huge page.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from errno import ENOMEM

from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import Page
from sim_backend.kernel.generation import HeadFrame
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb_vmemmap import (
    alloc_huge_page_vmemmap,
    trace_optimize_enter,
    vmemmap_get_tail,
    vmemmap_range,
    vmemmap_should_optimize,
)
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.vmemmap_frames import free_vmemmap_page_list
from sim_backend.kernel.vmemmap_head import (
    alloc_vmemmap_head,
    vmemmap_remap_free_copying_head,
    vmemmap_remap_free_sharing_tail,
    vmemmap_remap_split,
)


def vmemmap_should_optimize_folio(m: Machine, h: Hstate, folio: HugePage) -> bool:
    """Whether it is not optimised yet, by its flag, and should be."""
    return not folio.vmemmap_optimized and vmemmap_should_optimize(m, h, folio)


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
    return tail if isinstance(tail, int) else _remap(m, h, folio, pages, flush=flush, tail=tail)


def _share_head(m: Machine, h: Hstate, folio: HugePage, pages: FrameList, flush: bool) -> int:
    return _remap(m, h, folio, pages, flush=flush, tail=None)


def _remap(
    m: Machine, h: Hstate, folio: HugePage, pages: FrameList, *, flush: bool, tail: Page | None
) -> int:
    """Remap to a new head frame and ``tail``, or to the head frame alone."""
    head = alloc_vmemmap_head(m, folio.nid, pages)
    if head is None:
        return -ENOMEM
    _, end, start = vmemmap_range(m, h, folio)
    return vmemmap_remap_free_sharing_tail(
        m, start, end, head=head, tail=tail or head, pages=pages, flush=flush
    )


_REMAP_FREE: Mapping[HeadFrame, Callable[[Machine, Hstate, HugePage, FrameList, bool], int]] = {
    HeadFrame.COPIED: _copy_head,
    HeadFrame.REQUIRED: _require_head,
    HeadFrame.REQUIRED_SHARED: _share_head,
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


def hugetlb_vmemmap_optimize_folios(m: Machine, h: Hstate, folios: Collection[HugePage]) -> None:
    """Optimise every folio: split all, remap all, then free all that became free."""
    m.trace.batch_enter(m.task, h.order)
    if folios or not m.generation.empty_list_returns:
        __hugetlb_vmemmap_optimize_folios(m, h, folios)
    m.trace.batch_exit()


def __hugetlb_vmemmap_optimize_folios(m: Machine, h: Hstate, folios: Collection[HugePage]) -> None:
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
