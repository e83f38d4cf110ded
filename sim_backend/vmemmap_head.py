# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb_vmemmap.c from 6.2 on: the head struct page moves to a frame of its own.

It leaves whole runs of old frames free, so that they can become huge pages again (6.2, commit
11aad2631bf7). From 7.1 on the tails no longer share the head's frame but one of their zone.
"""

from collections import deque

from sim_backend.durations import REMAP_PTE
from sim_backend.errors import bug_on
from sim_backend.frames import Page
from sim_backend.machine import Machine
from sim_backend.pagetable import PAGE_KERNEL, Slot, mk_pte
from sim_backend.sparse_vmemmap import (
    VmemmapRemapWalk,
    alloc_vmemmap_page,
    alloc_vmemmap_page_list,
    pte_page,
    roll_back,
    vmemmap_remap_pte,
    vmemmap_remap_range,
    vmemmap_restore_pte,
)


def alloc_vmemmap_head(m: Machine, nid: int, pages: deque[Page]) -> Page | None:
    """Allocate the new frame of a head, and put it on the list until it is mapped (from 6.2)."""
    head = alloc_vmemmap_page(m, nid)
    if head is not None:
        pages.appendleft(head)
        m.nr_memmap_pages += 1
    return head


def vmemmap_remap_pte_and_head(
    m: Machine, pte: Slot[int], addr: int, walk: VmemmapRemapWalk
) -> None:
    """vmemmap_remap_pte of 6.2 and later: the first PTE goes to the new head frame, writable."""
    if walk.nr_walked or walk.vmemmap_head is None:
        vmemmap_remap_pte(m, pte, addr, walk)
        return
    m.trace.vmemmap_remap_pte(addr)
    m.clock.spend(REMAP_PTE)
    walk.vmemmap_pages.remove(walk.vmemmap_head)
    walk.vmemmap_pages.appendleft(pte_page(m, pte))
    pte.set(mk_pte(walk.vmemmap_head.pfn, PAGE_KERNEL))


def vmemmap_remap_free_copying_head(
    m: Machine, start: int, end: int, reuse: int, *, pages: deque[Page], flush: bool
) -> int:
    """vmemmap_remap_free of 6.2 to 7.0: the head moves to a new frame, which is then shared.

    Without memory for it, it falls back to the frame the head has. ``pages`` gets what the
    caller is to free.
    """
    walk = VmemmapRemapWalk(vmemmap_remap_pte_and_head, pages, reuse_addr=reuse, flush=flush)
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
    pages: deque[Page],
    flush: bool,
) -> int:
    """vmemmap_remap_free of 7.1: [start, end) to ``head`` and, from the second page, ``tail``."""
    walk = VmemmapRemapWalk(
        vmemmap_remap_pte_and_head, pages, reuse_page=tail, vmemmap_head=head, flush=flush
    )
    ret = vmemmap_remap_range(m, start, end, walk)
    if ret and walk.nr_walked:
        # vmemmap_restore_pte passes over the head, which keeps its new frame (7.3).
        end = start + walk.nr_walked * m.geometry.page_size
        undo = VmemmapRemapWalk(vmemmap_restore_pte, pages, reuse_page=tail)
        vmemmap_remap_range(m, start + m.geometry.page_size, end, undo)
    return ret


def vmemmap_remap_split(m: Machine, start: int, end: int) -> int:
    """Only split the huge PMDs of [start, end) (from 6.7)."""
    walk = VmemmapRemapWalk(None, deque(), flush=False)
    return vmemmap_remap_range(m, start, end, walk)


def vmemmap_remap_alloc_from_tail(
    m: Machine, start: int, end: int, tail: Page, *, flush: bool
) -> int:
    """vmemmap_remap_alloc of 7.1: [start, end) shares ``tail``, the frame of its zone."""
    walk = VmemmapRemapWalk(vmemmap_restore_pte, deque(), reuse_page=tail, flush=flush)
    if ret := alloc_vmemmap_page_list(m, start, end, walk.vmemmap_pages):
        return ret
    return vmemmap_remap_range(m, start, end, walk)
