# SPDX-License-Identifier: Apache-2.0
"""``plan --explain``: the comment of mm/hugetlb_vmemmap.c in patch v17 3/9, with numbers.

A table of huge page sizes, the arithmetic, and two pictures.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from exporter.savings import pictures
from exporter.savings.machine import V17_RESERVED, GeometryOptions, target_from_options
from probes.geometry import ARCHITECTURES, EVERY_ARCHITECTURE, PTE_SIZE, Geometry, size_label

_TABLE_ROW = "| {:<12} | {:<9} | {:<7} | {:<7} | {:<7} | {:<7} |"
_SUMS_ROW = "{:<12} {:>5} {:>6} {:>12} {:>13} {:>10} {:>10}"


def to_text(options: GeometryOptions) -> str:
    """Explain HVO for a geometry; defaults are those of patch v17: x86-64, 64 bytes, 2 reserved.

    Raises ``ValueError`` for an impossible geometry or number of reserved pages.
    """
    target = target_from_options(
        GeometryOptions(
            options.architecture,
            options.page_size,
            options.struct_page,
            options.reserved or V17_RESERVED,
        ),
        (),
    )
    geometry = target.geometry
    sizes = EVERY_ARCHITECTURE[target.architecture][geometry.page_size]
    parts = (
        ["Huge page sizes by architecture:", "", *_architectures(ARCHITECTURES)],
        [f"{target.architecture} with {_page(geometry)} pages:", "", *_formulas(geometry, sizes)],
        [
            "Frames that each huge page of the table frees (net), with 2 reserved vmemmap pages",
            "(up to Linux 5.17) and with 1 (from 5.18 on):",
            "",
            *_sums(geometry.struct_page_size),
        ],
        pictures.both(geometry),
    )
    return "\n".join(chain.from_iterable((*part, "") for part in parts)).rstrip("\n")


def _architectures(table: Mapping[str, Mapping[int, tuple[int, ...]]]) -> Iterator[str]:
    """Yield the patch's table of huge page sizes."""
    rule = "+--------------+-----------+---------+---------+---------+---------+"
    yield rule
    yield f"| Architecture | Page Size | {'HugeTLB Page Size':<37} |"
    yield rule
    for architecture, pages in table.items():
        for page, sizes in pages.items():
            labels = [size_label(size) for size in sizes]
            yield _TABLE_ROW.format(
                architecture, size_label(page), *labels, *[""] * (4 - len(labels))
            )
        yield rule


def _formulas(geometry: Geometry, sizes: tuple[int, ...]) -> Iterator[str]:
    """Yield struct_size of every huge page, and the patch's shortcuts for pmd and pud."""
    page, struct_page = geometry.page_size, geometry.struct_page_size
    yield "struct_size = HugeTLB_Size / PAGE_SIZE * sizeof(struct page) / PAGE_SIZE"
    for size in sizes:
        yield f"  {size_label(size):>5}: {size} / {page} * {struct_page} / {page} = " + _pages(
            geometry, size
        )
    yield ""
    yield from _pmd(geometry)
    pud_size = geometry.ptes_per_table * geometry.pmd_size
    if pud_size in sizes:
        yield from _pud(geometry, pud_size)
    yield f"freed = struct_size - RESERVE_VMEMMAP_NR ({geometry.reserved_pages})"
    for size in sizes:
        yield f"  {size_label(size):>5}: {_freed(geometry, size)}"


def _pmd(geometry: Geometry) -> Iterator[str]:
    n = geometry.ptes_per_table
    pages = geometry.vmemmap_pages(geometry.pmd_size)
    struct_page, page = geometry.struct_page_size, geometry.page_size
    yield f"pmd level ({size_label(geometry.pmd_size)}):"
    yield f"  n           = PAGE_SIZE / sizeof(pte_t) = {page} / {PTE_SIZE} = {n}"
    yield f"  struct_size = n * sizeof(struct page) / PAGE_SIZE = {n} * {struct_page} / {page}"
    yield f"              = sizeof(struct page) / sizeof(pte_t) = {struct_page} / {PTE_SIZE}"
    yield f"              = {pages} pages"
    yield ""


def _pud(geometry: Geometry, size: int) -> Iterator[str]:
    pmd_pages = geometry.vmemmap_pages(geometry.pmd_size)
    yield f"pud level ({size_label(size)}):"
    yield "  struct_size = PAGE_SIZE / sizeof(pmd_t) * struct_size(pmd)"
    yield f"              = {geometry.page_size} / {PTE_SIZE} * {pmd_pages}"
    yield f"              = {geometry.vmemmap_pages(size)} pages"
    yield ""


def _pages(geometry: Geometry, size: int) -> str:
    pages = geometry.vmemmap_pages(size)
    return f"{pages} pages" if pages else f"{geometry.struct_bytes(size)} bytes, less than a page"


def _freed(geometry: Geometry, size: int) -> str:
    pages, freed = geometry.vmemmap_pages(size), geometry.free_vmemmap_pages_per_hpage(size)
    if not freed:
        return "0: can't be optimized, its struct_size is at most RESERVE_VMEMMAP_NR"
    return f"{pages} - {geometry.reserved_pages} = {freed} frames"


def _sums(struct_page: int) -> Iterator[str]:
    yield _SUMS_ROW.format(
        "ARCHITECTURE", "PAGE", "HUGE", "STRUCT PAGES", "VMEMMAP PAGES", "2 RESERVED", "1 RESERVED"
    )
    for architecture, pages in ARCHITECTURES.items():
        for page, sizes in pages.items():
            two, one = (Geometry(page, struct_page, reserved) for reserved in (2, 1))
            for size in sizes:
                yield _SUMS_ROW.format(
                    architecture,
                    size_label(page),
                    size_label(size),
                    size // page,
                    two.vmemmap_pages(size),
                    two.free_vmemmap_pages_per_hpage(size),
                    one.free_vmemmap_pages_per_hpage(size),
                )


def _page(geometry: Geometry) -> str:
    return size_label(geometry.page_size)
