# SPDX-License-Identifier: Apache-2.0
"""Forecast of what HVO will save, in page frames, from numbers and sizes of huge pages.

Frames saved are those that the kernel's own accounting must show (``nr_memmap_pages`` and
``nr_memmap_boot_pages``, or MemTotal before Linux 6.11), less page tables, which it does not count.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from probes.geometry import EVERY_ARCHITECTURE, Geometry, is_power_of_two, size_label


@dataclass(frozen=True)
class Demand:
    """``count`` huge pages of ``size`` bytes on one NUMA node."""

    size: int
    count: int
    node: int = 0


@dataclass(frozen=True)
class Saving:
    """Frames saved by the huge pages of one size."""

    size: int
    """Bytes of one huge page."""
    count: int
    vmemmap_pages_per_page: int
    frames_freed_per_page: int
    """Net of the new head page, which Linux 6.2 and later allocate for one more frame freed."""
    page_table_frames: int
    """Page tables allocated to split PMDs: the minimum, with adjacent huge pages."""
    page_table_frames_most: int
    """The maximum, with huge pages far apart."""
    page_size: int
    """Bytes of one frame."""
    reason: str = ""
    """Why nothing can be saved; empty if something can."""

    @property
    def frames_freed(self) -> int:
        """Frames freed, without page tables."""
        return self.count * self.frames_freed_per_page

    @property
    def bytes_saved(self) -> int:
        """``frames_freed`` in bytes."""
        return self.frames_freed * self.page_size

    @property
    def net_bytes_saved(self) -> int:
        """``bytes_saved`` less the page tables; below 0 if they cost more."""
        return self.bytes_saved - self.page_table_frames * self.page_size


def check_possible(geometry: Geometry) -> None:
    """Raise ``ValueError`` for a struct page size with which HVO can't work."""
    size = geometry.struct_page_size
    if not is_power_of_two(size):
        raise ValueError(
            f"a struct page of {size} bytes crosses page boundaries: HVO is off "
            "(expected a power of two)"
        )
    if size > geometry.page_size:
        raise ValueError(
            f"a struct page of {size} bytes does not fit into a page "
            f"(expected at most {size_label(geometry.page_size)})"
        )


def check_architecture(architecture: str, geometry: Geometry, sizes: Iterable[int]) -> None:
    """Raise ``ValueError`` for a page size or huge page size that ``architecture`` lacks."""
    pages = EVERY_ARCHITECTURE[architecture]
    if geometry.page_size not in pages:
        raise ValueError(
            f"{architecture} has no {size_label(geometry.page_size)} pages "
            f"(expected {_list(pages)})"
        )
    known = pages[geometry.page_size]
    for size in sizes:
        geometry.order(size)
        if size not in known:
            raise ValueError(
                f"{architecture} with {size_label(geometry.page_size)} pages has no "
                f"{size_label(size)} huge pages (expected {_list(known)})"
            )


def savings(geometry: Geometry, demands: Iterable[Demand]) -> tuple[Saving, ...]:
    """Return one ``Saving`` per size, ascending, summed over nodes.

    Raises ``ValueError`` for a size that is not a power-of-two multiple of the page size.
    """
    ascending = sorted(demands, key=attrgetter("size"))
    by_size = groupby(ascending, key=attrgetter("size"))
    return tuple(_saving(geometry, size, [d.count for d in same]) for size, same in by_size)


def _saving(geometry: Geometry, size: int, counts: list[int]) -> Saving:
    """Compute one size; ``counts`` are pages per node: nodes never share a page table."""
    freed = geometry.free_vmemmap_pages_per_hpage(size)
    splits = freed > 0 and geometry.maps_vmemmap_with_pmds
    struct_bytes = geometry.struct_bytes(size)
    least = sum(-(-count * struct_bytes // geometry.pmd_size) for count in counts)
    return Saving(
        size=size,
        count=sum(counts),
        vmemmap_pages_per_page=geometry.vmemmap_pages(size),
        frames_freed_per_page=freed,
        page_table_frames=least if splits else 0,
        # Both are powers of two: no huge page straddles two tables.
        page_table_frames_most=max(least, sum(counts)) if splits else 0,
        page_size=geometry.page_size,
        reason="" if freed else _reason(geometry, size),
    )


def _reason(geometry: Geometry, size: int) -> str:
    pages, page = geometry.vmemmap_pages(size), size_label(geometry.page_size)
    if not is_power_of_two(geometry.struct_page_size):
        return f"struct page has {geometry.struct_page_size} bytes, not a power of two"
    if pages == 0:
        return f"its struct pages fill {geometry.struct_bytes(size)} bytes of one {page} page"
    return (
        f"its struct pages fill {pages} {page} pages, of which {geometry.reserved_pages} are "
        "reserved"
    )


def _list(sizes: Iterable[int]) -> str:
    return ", ".join(map(size_label, sizes))
