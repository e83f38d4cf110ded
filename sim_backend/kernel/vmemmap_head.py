# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb_vmemmap.c from 6.2 on: the head struct page moves to a frame of its own.

It leaves whole runs of old frames free, so that they can become huge pages again (6.2, commit
11aad2631bf7). From 7.1 on the tails no longer share the head's frame but one of their zone.
"""

from sim_backend.kernel.durations import REMAP_PTE
from sim_backend.kernel.errors import bug_on
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import Page
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import PAGE_KERNEL, PteSlot, mk_pte, pte_pfn
from sim_backend.kernel.sparse_vmemmap import (
    VmemmapRemapWalk,
    alloc_vmemmap_page,
    alloc_vmemmap_page_list,
    roll_back,
    vmemmap_remap_pte,
    vmemmap_remap_ptes,
    vmemmap_remap_range,
    vmemmap_restore_pte,
    vmemmap_restore_ptes,
)


def alloc_vmemmap_head(m: Machine, nid: int, pages: FrameList) -> Page | None:
    """Allocate the new frame of a head, and put it on the list until it is mapped (from 6.2)."""
    head = alloc_vmemmap_page(m, nid)
    if head is not None:
        pages.add(range(head.pfn, head.pfn + 1))
        m.nr_memmap_pages += 1
    return head


def vmemmap_remap_pte_and_head(m: Machine, pte: PteSlot, addr: int, walk: VmemmapRemapWalk) -> None:
    """vmemmap_remap_pte of 6.2 and later: the first PTE goes to the new head frame, writable."""
    if walk.nr_walked or walk.vmemmap_head is None:
        vmemmap_remap_pte(m, pte, addr, walk)
        return
    m.trace.vmemmap_remap_pte(addr)
    m.clock.spend_each(REMAP_PTE)
    walk.vmemmap_pages.remove(walk.vmemmap_head.pfn)
    pfn = pte_pfn(pte.get())
    walk.vmemmap_pages.add(range(pfn, pfn + 1))
    pte.set(mk_pte(walk.vmemmap_head.pfn, PAGE_KERNEL))


def vmemmap_remap_ptes_and_head(
    m: Machine, pte: PteSlot, addr: int, most: int, walk: VmemmapRemapWalk
) -> int:
    """``vmemmap_remap_pte_and_head`` for a run of PTEs without the first."""
    if walk.nr_walked or walk.vmemmap_head is None:
        return vmemmap_remap_ptes(m, pte, addr, most, walk)
    return 0


def vmemmap_remap_free_copying_head(
    m: Machine, start: int, end: int, reuse: int, *, pages: FrameList, flush: bool
) -> int:
    """vmemmap_remap_free of 6.2 to 7.0: the head moves to a new frame, which is then shared.

    Without memory for it, it falls back to the frame the head has. ``pages`` gets what the
    caller is to free.
    """
    walk = VmemmapRemapWalk(
        vmemmap_remap_pte_and_head,
        pages,
        reuse_addr=reuse,
        remap_ptes=vmemmap_remap_ptes_and_head,
        flush=flush,
    )
    walk.vmemmap_head = walk.reuse_page = alloc_vmemmap_head(m, m.vmemmap_to_nid(reuse), pages)
    bug_on(start - reuse != m.geometry.page_size, "start - reuse != PAGE_SIZE")
    ret = vmemmap_remap_range(m, reuse, end, walk)
    if ret and walk.nr_walked:
        roll_back(m, reuse, walk)
    return ret


def vmemmap_remap_free_sharing_tail(
    m: Machine,
    start: int,
    end: int,
    *,
    head: Page,
    tail: Page,
    pages: FrameList,
    flush: bool,
) -> int:
    """vmemmap_remap_free of 7.1: [start, end) to ``head`` and, from the second page, ``tail``."""
    walk = VmemmapRemapWalk(
        vmemmap_remap_pte_and_head,
        pages,
        reuse_page=tail,
        vmemmap_head=head,
        remap_ptes=vmemmap_remap_ptes_and_head,
        flush=flush,
    )
    ret = vmemmap_remap_range(m, start, end, walk)
    if ret and walk.nr_walked:
        # vmemmap_restore_pte passes over the head, which keeps its new frame (7.3).
        end = start + walk.nr_walked * m.geometry.page_size
        undo = VmemmapRemapWalk(
            vmemmap_restore_pte, pages, reuse_page=tail, remap_ptes=vmemmap_restore_ptes
        )
        vmemmap_remap_range(m, start + m.geometry.page_size, end, undo)
    return ret


def vmemmap_remap_split(m: Machine, start: int, end: int) -> int:
    """Only split the huge PMDs of [start, end) (from 6.7)."""
    walk = VmemmapRemapWalk(None, FrameList(), flush=False)
    return vmemmap_remap_range(m, start, end, walk)


def vmemmap_remap_alloc_from_tail(
    m: Machine, start: int, end: int, tail: Page, *, flush: bool
) -> int:
    """vmemmap_remap_alloc of 7.1: [start, end) shares ``tail``, the frame of its zone."""
    walk = VmemmapRemapWalk(
        vmemmap_restore_pte,
        FrameList(),
        reuse_page=tail,
        remap_ptes=vmemmap_restore_ptes,
        flush=flush,
    )
    if ret := alloc_vmemmap_page_list(m, start, end, walk.vmemmap_pages):
        return ret
    return vmemmap_remap_range(m, start, end, walk)
