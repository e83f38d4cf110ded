# SPDX-License-Identifier: Apache-2.0
"""mm/sparse-vmemmap.c: walk the page table of vmemmap and remap it.

Patch v17 ([PATCH v17 3/9], 25 Feb 2021) function for function, under its names. What later
kernels changed stands beside it and says since when; in 6.0 all of it moved to
mm/hugetlb_vmemmap.c. Addresses are bytes, ranges half open. Functions that can fail return 0 or
a negative errno, as they do in C. The contents of struct pages are not simulated, so nothing is
copied to a new frame.

What is done to one PTE is followed by the same for a run of like ones, all at once; a test holds
the two against each other.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import ENOMEM

from probes.counters import ENOTSUPP
from sim_backend.kernel.durations import REMAP_PTE, RESTORE_PTE, SPLIT_PMD
from sim_backend.kernel.errors import KernelBug, bug_on, vm_bug_on
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import Page, alloc_pages_node
from sim_backend.kernel.generation import SelfHosted, VmemmapMapping
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import (
    NONE,
    PAGE_KERNEL,
    PAGE_KERNEL_RO,
    Entry,
    PteSlot,
    PteTable,
    Slot,
    mk_pte,
    mk_ptes,
    pmd_leaf,
    pte_pfn,
)
from sim_backend.kernel.vmemmap_frames import (
    LIST_ADD,
    alloc_vmemmap_page_list,
    free_vmemmap_page_list,
)

RemapPte = Callable[[Machine, PteSlot, int, "VmemmapRemapWalk"], None]
RemapPtes = Callable[[Machine, PteSlot, int, int, "VmemmapRemapWalk"], int]
"""Takes up to so many PTEs from here on, as far as they are alike; returns how many those were, or
0 to leave the first to ``RemapPte``."""


@dataclass(eq=False, slots=True)
class VmemmapRemapWalk:
    """struct vmemmap_remap_walk: what to do to each PTE, and what came of it."""

    remap_pte: RemapPte | None
    """Called for each PTE. None: only split huge PMDs (from 6.7)."""
    vmemmap_pages: FrameList
    """Frames to free, or to take from; the front is the head of the kernel's list."""
    reuse_page: Page | None = None
    """The frame that tails share; None until the walk finds it at ``reuse_addr``."""
    reuse_addr: int = 0
    """0 where the walk has no such field (7.1): nothing is found, every PTE is remapped."""
    vmemmap_head: Page | None = None
    """The new frame of the head (from 6.2)."""
    vmemmap_tail: Page | None = None
    """In a rollback, the frame that a PTE must map to be restored (from 7.1)."""
    nr_walked: int = 0
    """PTEs walked, the reused one included (from 5.14)."""
    remap_ptes: RemapPtes | None = None
    """The same as ``remap_pte`` for a run of PTEs, if there is such."""
    flush: bool = True
    """False: the caller flushes the TLB for a whole list (VMEMMAP_REMAP_NO_TLB_FLUSH, 6.7)."""
    flush_split: bool = True
    """False only in the split pass (VMEMMAP_SPLIT_NO_TLB_FLUSH, 6.7)."""
    lost: list[int] | None = None
    """Takes the frames that a restore stops mapping although nothing else maps them."""


def vmemmap_remap_range(m: Machine, start: int, end: int, walk: VmemmapRemapWalk) -> int:
    """Walk [start, end) from the pgd down, and flush the TLB."""
    m.trace.vmemmap_remap_range(start, end, walk.reuse_addr)
    mask = m.geometry.page_size - 1
    vm_bug_on(start & mask != 0, "!IS_ALIGNED(start, PAGE_SIZE)")
    vm_bug_on(end & mask != 0, "!IS_ALIGNED(end, PAGE_SIZE)")
    addr, pgd = start, m.init_mm.pgd_offset_k(start)
    while addr != end:
        bug_on(pgd.get() == NONE, "pgd_none(*pgd)")
        next_addr = m.init_mm.pgd_level.addr_end(addr, end)
        if ret := vmemmap_p4d_range(m, pgd, addr, next_addr, walk):
            return ret
        pgd.step()
        addr = next_addr
    if walk.remap_pte is not None and walk.flush:
        m.flush_tlb()
    return 0


def vmemmap_p4d_range(
    m: Machine, pgd: Slot[Entry], addr: int, end: int, walk: VmemmapRemapWalk
) -> int:
    """Walk the part [addr, end) of one pgd entry."""
    p4d = m.init_mm.p4d_offset(pgd, addr)
    while addr != end:
        bug_on(p4d.get() == NONE, "p4d_none(*p4d)")
        next_addr = m.init_mm.p4d_level.addr_end(addr, end)
        if ret := vmemmap_pud_range(m, p4d, addr, next_addr, walk):
            return ret
        p4d.step()
        addr = next_addr
    return 0


def vmemmap_pud_range(
    m: Machine, p4d: Slot[Entry], addr: int, end: int, walk: VmemmapRemapWalk
) -> int:
    """Walk the part [addr, end) of one p4d entry."""
    pud = m.init_mm.pud_offset(p4d, addr)
    while addr != end:
        bug_on(pud.get() == NONE, "pud_none(*pud)")
        next_addr = m.init_mm.pud_level.addr_end(addr, end)
        if ret := vmemmap_pmd_range(m, pud, addr, next_addr, walk):
            return ret
        pud.step()
        addr = next_addr
    return 0


def vmemmap_pmd_range(
    m: Machine, pud: Slot[Entry], addr: int, end: int, walk: VmemmapRemapWalk
) -> int:
    """Walk the part [addr, end) of one pud entry."""
    enter_pmd = _ENTER_PMD[m.generation.mapping]
    pmd = m.init_mm.pmd_offset(pud, addr)
    while addr != end:
        if not walk.nr_walked and is_refused(m, addr):
            return -ENOTSUPP
        if ret := enter_pmd(m, pmd, walk):
            return ret
        next_addr = m.init_mm.pmd_level.addr_end(addr, end)
        vmemmap_pte_range(m, pmd, addr, next_addr, walk)
        pmd.step()
        addr = next_addr
    return 0


def is_refused(m: Machine, addr: int) -> bool:
    """Whether the walk ends where the struct pages at ``addr`` are self-hosted (from 6.8)."""
    if not m.self_hosted or m.generation.self_hosted is not SelfHosted.REFUSED:
        return False
    return m.vmemmap_to_nid(addr) in m.self_hosted


def vmemmap_pte_range(
    m: Machine, pmd: Slot[Entry], addr: int, end: int, walk: VmemmapRemapWalk
) -> None:
    """Find the frame to reuse at the first PTE, if it is not known; remap all other PTEs.

    The BUG_ONs of patch v17, which later kernels left out, hold in all generations.
    """
    remap_pte = walk.remap_pte
    if remap_pte is None:
        return
    page_size = m.geometry.page_size
    pte = m.init_mm.pte_offset_kernel(pmd, addr)
    if walk.reuse_page is None and walk.reuse_addr:
        bug_on(pte.get() == NONE, "pte_none(*pte)")
        bug_on(walk.reuse_addr != addr, "walk->reuse_addr != addr")
        walk.reuse_page = pte_page(m, pte)
        walk.nr_walked += 1
        pte.step()
        addr += page_size
    remap_ptes = walk.remap_ptes if m.in_runs else None
    while addr != end:
        bug_on(pte.get() == NONE, "pte_none(*pte)")
        left = (end - addr) >> m.geometry.page_shift
        count = remap_ptes(m, pte, addr, left, walk) if remap_ptes and left > 1 else 0
        if not count:
            remap_pte(m, pte, addr, walk)
            count = 1
        walk.nr_walked += count
        pte.step(count)
        addr += count * page_size


def _expect_base_pages(_m: Machine, pmd: Slot[Entry], _walk: VmemmapRemapWalk) -> int:
    bug_on(pmd.get() == NONE or pmd_leaf(pmd), "pmd_none(*pmd) || pmd_leaf(*pmd)")
    return 0


def split_vmemmap_huge_pmd(m: Machine, pmd: Slot[Entry], walk: VmemmapRemapWalk) -> int:
    """Map with a table of PTEs what one huge PMD maps (from 5.14), at the cost of one frame.

    Returns -ENOMEM when there is no frame for the table. It is never merged back.
    """
    entry = pmd.get()
    bug_on(entry == NONE, "pmd_none(*pmd)")
    if not isinstance(entry, int):
        return 0
    pgtable = alloc_pages_node(m.memory, m.numa_node_id(), this_node=False)
    if pgtable is None:
        return -ENOMEM
    head, count = pte_pfn(entry), m.init_mm.ptrs_per_pte
    pmd.set(PteTable(range(head, head + count), count, pgtable.pfn))
    m.clock.spend(SPLIT_PMD)
    if walk.flush_split:
        m.flush_tlb()
    return 0


_ENTER_PMD: Mapping[VmemmapMapping, Callable[[Machine, Slot[Entry], VmemmapRemapWalk], int]] = {
    VmemmapMapping.BASE_PAGES: _expect_base_pages,
    VmemmapMapping.PMD: split_vmemmap_huge_pmd,
}


def pte_page(m: Machine, pte: PteSlot) -> Page:
    """The frame that ``pte`` maps."""
    return m.memory.pfn_to_page(pte_pfn(pte.get()))


def vmemmap_remap_pte(m: Machine, pte: PteSlot, addr: int, walk: VmemmapRemapWalk) -> None:
    """Map ``addr`` to the shared frame, read-only, and put its old frame on the list."""
    m.trace.vmemmap_remap_pte(addr)
    m.clock.spend_each(REMAP_PTE)
    pfn = pte_pfn(pte.get())
    LIST_ADD[m.generation.remapped](walk.vmemmap_pages, range(pfn, pfn + 1))
    pte.set(mk_pte(reuse_page(walk).pfn, PAGE_KERNEL_RO))


def vmemmap_remap_ptes(
    m: Machine, pte: PteSlot, addr: int, most: int, walk: VmemmapRemapWalk
) -> int:
    """``vmemmap_remap_pte`` for PTEs that map one frame after the other."""
    count = pte.consecutive(most)
    if count == 1:
        return 0
    m.trace.vmemmap_remap_ptes(addr, count, m.clock.each_ns(REMAP_PTE))
    m.clock.spend_each(REMAP_PTE, count)
    pfn = pte_pfn(pte.get())
    LIST_ADD[m.generation.remapped](walk.vmemmap_pages, range(pfn, pfn + count))
    pte.set_run(array("Q", [mk_pte(reuse_page(walk).pfn, PAGE_KERNEL_RO)]) * count)
    return count


def vmemmap_restore_pte(m: Machine, pte: PteSlot, addr: int, walk: VmemmapRemapWalk) -> None:
    """Map ``addr`` to a frame of its own again (from 5.14)."""
    m.trace.vmemmap_restore_pte(addr)
    m.clock.spend_each(RESTORE_PTE)
    bug_on(pte_pfn(pte.get()) != reuse_page(walk).pfn, "pte_page(*pte) != walk->reuse_page")
    (pfns,) = walk.vmemmap_pages.take(1)
    pte.set(mk_pte(pfns[0], PAGE_KERNEL))


def vmemmap_restore_ptes(
    m: Machine, pte: PteSlot, addr: int, most: int, walk: VmemmapRemapWalk
) -> int:
    """``vmemmap_restore_pte`` for PTEs that share the frame in the same way."""
    count = pte.equal(most)
    if count == 1 or pte_pfn(pte.get()) != reuse_page(walk).pfn:
        return 0
    m.trace.vmemmap_restore_ptes(addr, count, m.clock.each_ns(RESTORE_PTE))
    m.clock.spend_each(RESTORE_PTE, count)
    entries = array("Q")
    for pfns in walk.vmemmap_pages.take(count):
        entries += mk_ptes(pfns, PAGE_KERNEL)
    pte.set_run(entries)
    return count


def reuse_page(walk: VmemmapRemapWalk) -> Page:
    """The frame that tails share. Raises ``KernelBug`` if the walk has not found it."""
    if walk.reuse_page is None:
        raise KernelBug("NULL pointer dereference: walk->reuse_page")
    return walk.reuse_page


def vmemmap_remap_free(m: Machine, start: int, end: int, reuse: int) -> int:
    """Map [start, end) to the frame that ``reuse`` is mapped to, and free what it was mapped to.

    ``reuse`` must be the page right before ``start``. Patch v17's returns nothing, as it
    can't fail; from 5.14 to 6.1 it returns -ENOMEM when a huge PMD can't be split, all undone.
    """
    m.trace.vmemmap_remap_free(start, end, reuse)
    walk = VmemmapRemapWalk(
        vmemmap_remap_pte, FrameList(), reuse_addr=reuse, remap_ptes=vmemmap_remap_ptes
    )
    bug_on(start - reuse != m.geometry.page_size, "start - reuse != PAGE_SIZE")
    ret = vmemmap_remap_range(m, reuse, end, walk)
    if ret and walk.nr_walked:
        roll_back(m, reuse, walk)
    free_vmemmap_page_list(m, walk.vmemmap_pages)
    return ret


def roll_back(m: Machine, reuse: int, failed: VmemmapRemapWalk) -> None:
    """Restore what a walk from ``reuse`` remapped before it failed (from 5.14)."""
    end = reuse + failed.nr_walked * m.geometry.page_size
    undo = VmemmapRemapWalk(
        vmemmap_restore_pte,
        failed.vmemmap_pages,
        reuse_addr=reuse,
        remap_ptes=vmemmap_restore_ptes,
    )
    vmemmap_remap_range(m, reuse, end, undo)


def vmemmap_remap_alloc(m: Machine, start: int, end: int, reuse: int, *, flush: bool) -> int:
    """Map [start, end), which shares the frame of ``reuse``, to frames of its own.

    Returns -ENOMEM, and leaves all as it was, when there are not enough frames.
    """
    bug_on(start - reuse != m.geometry.page_size, "start - reuse != PAGE_SIZE")
    walk = VmemmapRemapWalk(
        vmemmap_restore_pte,
        FrameList(),
        reuse_addr=reuse,
        remap_ptes=vmemmap_restore_ptes,
        flush=flush,
    )
    if ret := alloc_vmemmap_page_list(m, start, end, walk.vmemmap_pages):
        return ret
    return vmemmap_remap_range(m, reuse, end, walk)
