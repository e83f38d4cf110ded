# SPDX-License-Identifier: Apache-2.0
"""What HVO will save, before it is switched on: pages of huge pages in, frames out.

Frames are those the kernel's own accounts must show (``nr_memmap_pages`` and
``nr_memmap_boot_pages``, or MemTotal before Linux 6.11), less page tables that no account shows.
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
    """What the huge pages of one size give back. All counts are page frames."""

    size: int
    """Bytes of one huge page."""
    count: int
    vmemmap_pages_per_page: int
    frames_freed_per_page: int
    """Net: a kernel that takes a new head page (Linux 6.2 and later) frees one more."""
    page_table_frames: int
    """Page tables that splitting takes if the huge pages lie as close together as they can."""
    page_table_frames_most: int
    """The same if they lie as far apart as they can."""
    page_size: int
    """Bytes of one frame."""
    reason: str = ""
    """Why nothing can be saved; empty where something can."""

    @property
    def frames_freed(self) -> int:
        """Frames given back, page tables not counted."""
        return self.count * self.frames_freed_per_page

    @property
    def bytes_saved(self) -> int:
        """``frames_freed`` in bytes."""
        return self.frames_freed * self.page_size

    @property
    def net_bytes_saved(self) -> int:
        """``bytes_saved`` less the page tables; below 0 where they cost more than was freed."""
        return self.bytes_saved - self.page_table_frames * self.page_size


def check_possible(geometry: Geometry) -> None:
    """Raise ``ValueError`` for a struct page with which no kernel has HVO."""
    size = geometry.struct_page_size
    if not is_power_of_two(size):
        raise ValueError(
            f"a struct page of {size} bytes is no power of two: some cross page boundaries, "
            "and HVO switches itself off"
        )
    if size > geometry.page_size:
        raise ValueError(
            f"a struct page of {size} bytes is larger than the {size_label(geometry.page_size)} "
            "page"
        )


def check_architecture(architecture: str, geometry: Geometry, sizes: Iterable[int]) -> None:
    """Raise ``ValueError`` for a page or huge page size that ``architecture`` does not have."""
    pages = EVERY_ARCHITECTURE[architecture]
    if geometry.page_size not in pages:
        raise ValueError(
            f"{architecture} has pages of {_list(pages)}, not {size_label(geometry.page_size)}"
        )
    known = pages[geometry.page_size]
    for size in sizes:
        geometry.order(size)
        if size not in known:
            raise ValueError(
                f"{architecture} with {size_label(geometry.page_size)} pages has huge pages of "
                f"{_list(known)}, not {size_label(size)}"
            )


def savings(geometry: Geometry, demands: Iterable[Demand]) -> tuple[Saving, ...]:
    """One ``Saving`` per size, ascending; nodes are added up.

    Raises ``ValueError`` for a size that is no power-of-two multiple of the page.
    """
    ascending = sorted(demands, key=attrgetter("size"))
    by_size = groupby(ascending, key=attrgetter("size"))
    return tuple(_saving(geometry, size, [d.count for d in same]) for size, same in by_size)


def _saving(geometry: Geometry, size: int, counts: list[int]) -> Saving:
    """``counts`` are pages node by node, since nodes share no page table."""
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
        # Both are powers of two, so that no huge page straddles two tables.
        page_table_frames_most=max(least, sum(counts)) if splits else 0,
        page_size=geometry.page_size,
        reason="" if freed else _reason(geometry, size),
    )


def _reason(geometry: Geometry, size: int) -> str:
    pages, page = geometry.vmemmap_pages(size), size_label(geometry.page_size)
    if not is_power_of_two(geometry.struct_page_size):
        return f"struct page has {geometry.struct_page_size} bytes, no power of two"
    if pages == 0:
        return f"its struct pages fill {geometry.struct_bytes(size)} bytes of one {page} page"
    return f"its struct pages fill {pages} of the {page} pages, and {geometry.reserved_pages} stay"


def _list(sizes: Iterable[int]) -> str:
    return ", ".join(map(size_label, sizes))
