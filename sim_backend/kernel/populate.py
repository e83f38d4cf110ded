# SPDX-License-Identifier: Apache-2.0
"""Boot: memblock gives frames for the struct pages of each node, and the page table maps them.

After mm/sparse-vmemmap.c (vmemmap_populate_basepages, vmemmap_populate_hugepages).
"""

from array import array
from collections.abc import Collection, Mapping

from sim_backend.kernel.frames import MIX_SECTION_INFO, SECTION_INFO
from sim_backend.kernel.generation import VmemmapMapping
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import (
    NONE,
    PAGE_KERNEL,
    PAGE_PSE,
    Directory,
    Entry,
    Level,
    PteTable,
    Slot,
    mk_pte,
)

_HUGE: Mapping[VmemmapMapping, bool] = {
    VmemmapMapping.BASE_PAGES: False,
    VmemmapMapping.PMD: True,
}


def vmemmap_populate(m: Machine, nid: int, but: Collection[range] = ()) -> None:
    """Allocate and map the struct pages of node ``nid``, except at the addresses of ``but``.

    Those are whole pmd entries. Raises ``ValueError`` when they don't fit into the node.
    """
    node = m.memory.nodes[nid]
    addr, end = m.page_to_vmemmap(node.start), m.page_to_vmemmap(node.end)
    huge = _HUGE[m.generation.mapping] and m.geometry.maps_vmemmap_with_pmds
    left_out = sum(len(span) for span in but if span.start in range(addr, end))
    frames = (end - addr - left_out) >> m.geometry.page_shift
    align = m.init_mm.ptrs_per_pte if huge else 1
    pfn = node.memblock.alloc(frames, align, SECTION_INFO)
    m.nr_memmap_boot_pages += frames
    while addr != end:
        next_addr = m.init_mm.pmd_level.addr_end(addr, end)
        if any(addr in span for span in but):
            addr = next_addr
            continue
        count = (next_addr - addr) >> m.geometry.page_shift
        pmd = _vmemmap_pmd_populate(m, addr, nid)
        if huge and next_addr - addr == 1 << m.init_mm.pmd_level.shift:
            pmd.set(mk_pte(pfn, PAGE_KERNEL | PAGE_PSE))
        else:
            pfns = range(pfn, pfn + count)
            _vmemmap_populate_basepages(m, pmd, addr, pfns, nid)
        pfn += count
        addr = next_addr


def vmemmap_populate_table(m: Machine, addr: int, nid: int, entries: "array[int]") -> None:
    """Map what one pmd entry spans with a whole table of ``entries`` (vmemmap_populate_hvo)."""
    pmd = _vmemmap_pmd_populate(m, addr, nid)
    table = PteTable(range(0), m.init_mm.ptrs_per_pte, _table_frame(m, nid))
    table.set_run(0, entries)
    pmd.set(table)


def _vmemmap_populate_basepages(
    m: Machine, pmd: Slot[Entry], addr: int, pfns: range, nid: int
) -> None:
    if pmd.get() == NONE:
        pmd.set(PteTable(pfns, m.init_mm.ptrs_per_pte, _table_frame(m, nid)))
        return
    # The last table of the node before reaches into this one.
    pte = m.init_mm.pte_offset_kernel(pmd, addr)
    for pfn in pfns:
        pte.set(mk_pte(pfn, PAGE_KERNEL))
        pte.step()


def _vmemmap_pmd_populate(m: Machine, addr: int, nid: int) -> Slot[Entry]:
    mm = m.init_mm
    pgd = mm.pgd_offset_k(addr)
    _populate(m, pgd, mm.p4d_level, nid)
    p4d = mm.p4d_offset(pgd, addr)
    _populate(m, p4d, mm.pud_level, nid)
    pud = mm.pud_offset(p4d, addr)
    _populate(m, pud, mm.pmd_level, nid)
    return mm.pmd_offset(pud, addr)


def _populate(m: Machine, slot: Slot[Entry], below: Level, nid: int) -> None:
    if slot.get() == NONE:
        folded = below.entries == 1
        slot.set(Directory(below.entries, None if folded else _table_frame(m, nid)))


def _table_frame(m: Machine, nid: int) -> int:
    return m.memory.nodes[nid].memblock.alloc(1, 1, MIX_SECTION_INFO)
