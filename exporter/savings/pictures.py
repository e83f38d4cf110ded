# SPDX-License-Identifier: Apache-2.0
"""The two pictures of patch v17, before and after the remap, drawn from a simulated page table.

A simulated kernel allocates a huge page at the pmd level; its vmemmap is read from the page table
before and after optimization. The pictures' content is never copied from the patch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from probes.geometry import Geometry, size_label
from probes.operations import Operation
from sim_backend.kernel.hugetlb_vmemmap import free_huge_page_vmemmap
from sim_backend.kernel.pagetable import Mapping
from sim_backend.kernel.sim_kernel import MEMORY_BLOCK, SimKernel

_GENERATIONS = {2: "v17-enabled", 1: "5.18"}
"""Reserved vmemmap pages -> a kernel with that number, which does not move the head page."""

_MAX_ROWS = 16
_BOX = "+-----------+"
_BLANK = "|           |"
_TO_STRUCT_PAGES = " ---virt_to_page---> "
_TO_FRAME = " -------------> "
_GAP = " " * len(_TO_STRUCT_PAGES)


@dataclass(frozen=True)
class Remap:
    """Mappings of the vmemmap pages of one huge page."""

    size: int
    """Bytes of the huge page."""
    before: Sequence[Mapping]
    after: Sequence[Mapping]


def simulate(geometry: Geometry) -> Remap:
    """Optimize one huge page at the pmd level. Raises ``ValueError`` if that is impossible."""
    if geometry.reserved_pages not in _GENERATIONS:
        raise ValueError(
            f"no kernel reserves {geometry.reserved_pages} vmemmap pages "
            "(expected --reserved 2, up to Linux 5.17, or 1, from 5.18 on)"
        )
    size = geometry.pmd_size
    if not geometry.free_vmemmap_pages_per_hpage(size):
        raise ValueError(
            f"a struct page of {geometry.struct_page_size} bytes leaves nothing to remap: a huge "
            f"page of {size_label(size)} has {geometry.vmemmap_pages(size)} vmemmap pages"
        )
    kernel = SimKernel(
        _GENERATIONS[geometry.reserved_pages],
        geometry=geometry,
        huge_page_sizes=(size,),
        memory_per_node=max(8 * size, 8 * MEMORY_BLOCK),
        hvo=False,
    )
    kernel.operate(Operation("grow", size, 1))
    m = kernel.machine
    (h,) = m.hstates
    (head,) = h.hugepage_freelists[0]
    start, step = m.page_to_vmemmap(head.pfn), geometry.page_size
    addresses = range(start, start + geometry.struct_bytes(size), step)
    before = [m.init_mm.translate(addr) for addr in addresses]
    m.vmemmap_optimize_enabled = True
    free_huge_page_vmemmap(m, h, head)
    return Remap(size, before, [m.init_mm.translate(addr) for addr in addresses])


def both(geometry: Geometry) -> list[str]:
    """Return the lines of both pictures. Raises ``ValueError`` as ``simulate`` does."""
    remap = simulate(geometry)
    frames = [mapping.pfn for mapping in remap.before]
    shared = [i for i, m in enumerate(remap.after) if m.pfn != frames[i]]
    target = frames.index(remap.after[shared[0]].pfn)
    how = "" if any(remap.after[i].writable for i in shared) else ", read-only"
    label = size_label(remap.size)
    return [
        f"A simulated huge page of {label} before optimization:",
        "",
        *picture(remap.before, frames),
        "",
        f"After optimization, vmemmap pages {shared[0]} to {shared[-1]} are mapped to frame "
        f"{target}{how}.",
        "",
        *picture(remap.after, frames),
    ]


def picture(mappings: Sequence[Mapping], frames: Sequence[int]) -> Iterator[str]:
    """Draw a picture; ``frames`` are numbered from 0, unmapped ones are omitted."""
    count = len(mappings)
    shown = [i for i in range(count) if count <= _MAX_ROWS or i < _MAX_ROWS // 2 or i == count - 1]
    sharers = [i for i in shown if mappings[i].pfn != frames[i]]
    yield (
        f"{'HugeTLB':^13}{_GAP}{f'struct pages({count} pages)':<22}"
        f"{f'page frame({count} pages)':>26}"
    )
    right = f"{' mapping to ':^{len(_TO_FRAME)}}{_BOX}"
    left = _BOX + _TO_STRUCT_PAGES
    for i in shown:
        if i and i - 1 not in shown:
            yield f"{left}{_BOX}{right}"
            yield f"{_BLANK}{_GAP}|{'...':^11}|{right if sharers else ''}"
        yield f"{left}{_BOX}{right}"
        row, right = _row(i, sharers)
        yield f"{_BLANK}{_GAP}|{i:^11}|{row}"
        left = _BLANK + _GAP
    yield f"{left}{_BOX}{right}".rstrip()
    yield _BOX


def _row(i: int, sharers: Sequence[int]) -> tuple[str, str]:
    """Return what stands right of vmemmap page ``i``: its arrow, and the line below."""
    if i not in sharers:
        return f"{_TO_FRAME}|{i:^11}|", " " * len(_TO_FRAME) + _BOX
    turn = sharers.index(i)
    later = len(sharers) - turn - 1
    column = len(_TO_FRAME) + 2 * turn
    end = "^" + " ^" * later if turn == 0 else "+" + " |" * later
    return " " + "-" * column + end, " " * (column + 2) + " |" * later
