# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb_vmemmap.c from 6.2 on: the head struct page moves to a frame of its own.

It leaves whole runs of old frames free, so that they can become huge pages again (6.2, commit
11aad2631bf7). From 7.1 on the tails no longer share the head's frame but one of their zone.
"""

from array import array

from sim_backend.kernel.durations import REMAP_PTE, RESTORE_PTE
from sim_backend.kernel.errors import bug_on
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import Page
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import PAGE_KERNEL, PteSlot, mk_pte, mk_ptes, pte_pfn, pte_write
from sim_backend.kernel.sparse_vmemmap import (
    VmemmapRemapWalk,
    roll_back,
    vmemmap_remap_pte,
    vmemmap_remap_ptes,
    vmemmap_remap_range,
)
from sim_backend.kernel.vmemmap_frames import LIST_ADD, alloc_vmemmap_page, alloc_vmemmap_page_list


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
    LIST_ADD[m.generation.remapped](walk.vmemmap_pages, range(pfn, pfn + 1))
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
    """vmemmap_remap_free of 7.1: [start, end) to ``head`` and, from the second page, ``tail``.

    The two are one in 6.12.114.
    """
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
        end = start + walk.nr_walked * m.geometry.page_size
        undo = VmemmapRemapWalk(
            vmemmap_restore_pte_to_src,
            pages,
            vmemmap_tail=tail,
            remap_ptes=vmemmap_restore_ptes_to_src,
            lost=m.lost_heads,
        )
        vmemmap_remap_range(m, start, end, undo)
    return ret


def vmemmap_restore_pte_to_src(m: Machine, pte: PteSlot, addr: int, walk: VmemmapRemapWalk) -> None:
    """vmemmap_restore_pte of 7.1 and 6.12.114: copy whatever ``addr`` is mapped to.

    A rollback leaves alone what is not mapped to ``vmemmap_tail``: the head, unless tails share
    its frame (6.12.114). Then no list has that frame any more.
    """
    m.trace.vmemmap_restore_pte(addr)
    m.clock.spend_each(RESTORE_PTE)
    src = pte.get()
    if walk.vmemmap_tail is not None and walk.vmemmap_tail.pfn != pte_pfn(src):
        return
    (pfns,) = walk.vmemmap_pages.take(1)
    pte.set(mk_pte(pfns[0], PAGE_KERNEL))
    if pte_write(src) and walk.lost is not None:
        walk.lost.append(pte_pfn(src))


def vmemmap_restore_ptes_to_src(
    m: Machine, pte: PteSlot, addr: int, most: int, walk: VmemmapRemapWalk
) -> int:
    """``vmemmap_restore_pte_to_src`` for PTEs that share a frame in the same way."""
    count = pte.equal(most)
    if count == 1 or pte_write(pte.get()):
        return 0
    m.trace.vmemmap_restore_ptes(addr, count, m.clock.each_ns(RESTORE_PTE))
    m.clock.spend_each(RESTORE_PTE, count)
    entries = array("Q")
    for pfns in walk.vmemmap_pages.take(count):
        entries += mk_ptes(pfns, PAGE_KERNEL)
    pte.set_run(entries)
    return count


def vmemmap_remap_split(m: Machine, start: int, end: int) -> int:
    """Only split the huge PMDs of [start, end) (from 6.7)."""
    walk = VmemmapRemapWalk(None, FrameList(), flush_split=False)
    return vmemmap_remap_range(m, start, end, walk)


def vmemmap_remap_alloc_to_src(m: Machine, start: int, end: int, *, flush: bool) -> int:
    """vmemmap_remap_alloc of 7.1 and 6.12.114: the walk does not look for a shared frame."""
    walk = VmemmapRemapWalk(
        vmemmap_restore_pte_to_src,
        FrameList(),
        remap_ptes=vmemmap_restore_ptes_to_src,
        flush=flush,
        lost=m.lost_frames,
    )
    if ret := alloc_vmemmap_page_list(m, start, end, walk.vmemmap_pages):
        return ret
    return vmemmap_remap_range(m, start, end, walk)
