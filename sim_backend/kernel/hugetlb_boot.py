# SPDX-License-Identifier: Apache-2.0
"""Boot: struct pages for all memory, and the huge pages of the command line.

After mm/hugetlb.c (hugetlb_hstate_alloc_pages, gather_bootmem_prealloc) and, for pre-HVO,
mm/hugetlb_vmemmap.c (hugetlb_vmemmap_init_early and _late) of 6.15 and later.
"""

from array import array
from collections import deque
from collections.abc import Mapping

from sim_backend.kernel.frames import SECTION_INFO
from sim_backend.kernel.generation import HeadFrame
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.hugetlb import hstate_next_node_to_alloc
from sim_backend.kernel.hugetlb_resize import add_bootmem_pages, set_max_huge_pages
from sim_backend.kernel.hugetlb_vmemmap import free_vmemmap_pages_per_hpage
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import PAGE_KERNEL, PAGE_KERNEL_RO, mk_pte
from sim_backend.kernel.populate import vmemmap_populate, vmemmap_populate_table

_SECTION = 1 << 27
"""Bytes of a section of sparse memory (SECTION_SIZE_BITS of x86-64)."""


def boot(m: Machine, hugepages: Mapping[int, int]) -> None:
    """Bring memory up. ``hugepages`` has how many huge pages by size in bytes.

    Raises ``ValueError`` when memory ends, or there is no such size.
    """
    if unknown := set(hugepages) - {h.size for h in m.hstates}:
        raise ValueError(f"hugepages= of sizes that this machine does not have: {sorted(unknown)}")
    bootmem = [(h, _alloc_bootmem(m, h, hugepages.get(h.size, 0))) for h in m.hstates]
    early = [(h, page) for h, pages in bootmem if _is_pre_hvo(m, h) for page in pages]
    spans = [m.target(h, page) for h, page in early]
    for node in m.memory.nodes:
        vmemmap_populate(m, node.nid, [range(span.start, span.end) for span in spans])
    tails: dict[tuple[int, int], int] = {}
    for h, page in early:
        _vmemmap_populate_hvo(m, h, page, tails)
    m.memory.memblock_free_all()
    m.vmemmap_tails = {key: m.memory.pfn_to_page(pfn) for key, pfn in tails.items()}
    for h, pages in bootmem:
        _gather_bootmem_prealloc(m, h, pages)
        if not h.gigantic:
            _hugetlb_pages_alloc_boot(m, h, hugepages.get(h.size, 0))


def _hugetlb_pages_alloc_boot(m: Machine, h: Hstate, count: int) -> None:
    """Allocate pages of the command line, in parts where threads do it (padata_do_multithreaded).

    A part is the share of each of two threads a node: job.min_chunk, which is more than the chunks
    that would balance the load (load_balance_factor).
    """
    share = max(count // h.nodes // 2, 1)
    part = share if m.generation.parallel_boot else max(count, 1)
    for start in range(0, count, part):
        h.next_nid_to_alloc = 0
        set_max_huge_pages(m, h, min(start + part, count))
    if m.generation.boot_cursor:
        h.next_nid_to_alloc = 0


def _alloc_bootmem(m: Machine, h: Hstate, count: int) -> deque[HugePage]:
    """Take gigantic pages from memblock, nodes in turn; the last one taken is the first."""
    pages: deque[HugePage] = deque()
    for _ in range(count if h.gigantic else 0):
        nid = hstate_next_node_to_alloc(h)
        pfn = m.memory.nodes[nid].memblock.take(h.pages_per_huge_page, h.pages_per_huge_page)
        pages.appendleft(HugePage(pfn, nid))
    return pages


def _is_pre_hvo(m: Machine, h: Hstate) -> bool:
    """Whether pages of this size get no struct pages to free (..._should_optimize_bootmem_page)."""
    whole_pmds = m.geometry.struct_bytes(h.size) % (1 << m.init_mm.pmd_level.shift) == 0
    return (
        m.generation.pre_hvo
        and m.vmemmap_optimize_enabled
        and free_vmemmap_pages_per_hpage(m, h) > 0
        and h.size % _SECTION == 0
        and whole_pmds
    )


def _vmemmap_populate_hvo(
    m: Machine, h: Hstate, page: HugePage, tails: dict[tuple[int, int], int]
) -> None:
    """Map all struct pages of ``page`` to one head frame and one frame for the tails.

    That is the head's (6.15 to 7.0) or its zone's, which no counter counts (7.1).
    """
    memblock = m.memory.nodes[page.nid].memblock
    head = tail = memblock.alloc(1, 1, SECTION_INFO)
    m.nr_memmap_boot_pages += 1
    if m.generation.head is HeadFrame.REQUIRED:
        key = (page.nid, h.order)
        if key not in tails:
            tails[key] = memblock.alloc(1, 1, SECTION_INFO)
        tail = tails[key]
    first, rest = mk_pte(head, PAGE_KERNEL), mk_pte(tail, PAGE_KERNEL_RO)
    span = m.target(h, page)
    for addr in range(span.start, span.end, 1 << m.init_mm.pmd_level.shift):
        entries = array("Q", [rest]) * m.init_mm.ptrs_per_pte
        if addr == span.start:
            entries[0] = first
        vmemmap_populate_table(m, addr, page.nid, entries)
    page.vmemmap_optimized = True


def _gather_bootmem_prealloc(m: Machine, h: Hstate, pages: deque[HugePage]) -> None:
    """Count gigantic pages as managed memory, optimise those that are not yet, and add them."""
    for page in pages:
        m.memory.nodes[page.nid].managed_pages += h.pages_per_huge_page
    if pages:
        add_bootmem_pages(m, h, pages)
