# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of HVO: how many frames a huge page's struct pages fill, and how many can go.

From the seed (patch v17 3/9, mm/hugetlb_vmemmap.c), where the comment derives::

    struct_size = HugeTLB_Size / PAGE_SIZE * sizeof(struct page) / PAGE_SIZE

and ``free_vmemmap_pages_per_hpage`` keeps RESERVE_VMEMMAP_NR of them (2; from 5.18 on, 1).
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

KIB = 1024
MIB = KIB * KIB
GIB = KIB * MIB

PTE_SIZE = 8
"""sizeof(pte_t) in bytes: HVO supports 64-bit systems only."""

_UNITS = {"K": KIB, "M": MIB, "G": GIB}
_SIZE = re.compile(r"(\d+)\s*([KMG])(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read ``4K``, ``64KB``, ``2MB``, ``16GB`` (binary units) as bytes; ``ValueError`` if not."""
    match = _SIZE.fullmatch(text.strip())
    if not match or int(match[1]) == 0:
        raise ValueError(f"not a size: {text!r} (write it like 4K, 64KB, 2MB or 1GB)")
    return int(match[1]) * _UNITS[match[2].upper()]


@functools.cache
def size_label(size: int) -> str:
    """Spell ``size`` bytes as the kernel's documentation does: ``64KB``, ``2MB``, ``1GB``."""
    for unit, name in ((GIB, "GB"), (MIB, "MB"), (KIB, "KB")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def is_power_of_two(number: int) -> bool:
    """Tell whether ``number`` is 1, 2, 4, ..."""
    return number > 0 and number & (number - 1) == 0


@dataclass(frozen=True)
class Geometry:
    """Base page and struct page of a kernel; all sizes in bytes."""

    page_size: int = 4 * KIB
    struct_page_size: int = 64
    reserved_pages: int = 2
    """vmemmap pages that stay mapped to frames of their own: 2 in the seed, 1 from 5.18 on."""
    vmemmap_by_pmds: bool | None = None
    """Whether boot maps struct pages by huge pmds; None: with 4 KB pages only."""

    def __post_init__(self) -> None:
        """Refuse what no kernel has: ``ValueError``."""
        if not is_power_of_two(self.page_size):
            raise ValueError(f"page size {self.page_size} is no power of two")
        if self.struct_page_size <= 0 or self.reserved_pages < 1:
            raise ValueError("struct page size and reserved pages must be positive")

    @property
    def page_shift(self) -> int:
        """log2 of the base page size."""
        return self.page_size.bit_length() - 1

    @property
    def ptes_per_table(self) -> int:
        """PTRS_PER_PTE: entries in one page of page table, at every level."""
        return self.page_size // PTE_SIZE

    @property
    def maps_vmemmap_with_pmds(self) -> bool:
        """Whether boot maps struct pages by huge pmds, which the first HVO page in each splits.

        On larger pages arm64 goes through vmemmap_populate_basepages, so that there is nothing to
        split (arch/arm64/mm/mmu.c, vmemmap_populate).
        """
        return self.page_size == 4 * KIB if self.vmemmap_by_pmds is None else self.vmemmap_by_pmds

    @property
    def pmd_size(self) -> int:
        """Bytes that one pmd entry maps, and so one page of page table."""
        return self.ptes_per_table * self.page_size

    def order(self, huge_page_size: int) -> int:
        """Page order of a huge page: log2 of its base pages. ``ValueError`` if it has none."""
        pages, rest = divmod(huge_page_size, self.page_size)
        if rest or not is_power_of_two(pages):
            raise ValueError(
                f"{size_label(huge_page_size)} is no power-of-two multiple of the "
                f"{size_label(self.page_size)} page"
            )
        return pages.bit_length() - 1

    def huge_page_size(self, order: int) -> int:
        """Bytes of a huge page of ``order``."""
        return self.page_size << order

    def struct_bytes(self, huge_page_size: int) -> int:
        """Bytes that the struct pages of one huge page take."""
        return (1 << self.order(huge_page_size)) * self.struct_page_size

    def vmemmap_pages(self, huge_page_size: int) -> int:
        """struct_size: whole vmemmap pages of one huge page (0 where it has a part of one)."""
        return self.struct_bytes(huge_page_size) // self.page_size

    def free_vmemmap_pages_per_hpage(self, huge_page_size: int) -> int:
        """Frames one optimised huge page gives back, net; 0 where it can't be optimised.

        The name is the seed's (mm/hugetlb_vmemmap.c).
        """
        if not is_power_of_two(self.struct_page_size):
            return 0
        return max(0, self.vmemmap_pages(huge_page_size) - self.reserved_pages)


ARCHITECTURES: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    "x86-64": {4 * KIB: (2 * MIB, 1 * GIB)},
    "arm64": {
        4 * KIB: (64 * KIB, 2 * MIB, 32 * MIB, 1 * GIB),
        16 * KIB: (2 * MIB, 32 * MIB, 1 * GIB),
        64 * KIB: (2 * MIB, 512 * MIB, 16 * GIB),
    },
}
"""The seed's table: architecture -> base page size -> huge page sizes, in bytes."""

LATER_ARCHITECTURES: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    # arch/riscv/mm/hugetlbpage.c; 64 KB with the Svnapot extension
    "riscv64": {4 * KIB: (64 * KIB, 2 * MIB, 1 * GIB)},
    # HPAGE_SIZE of arch/loongarch/include/asm/page.h; 16 KB pages are the usual ones
    "loongarch64": {16 * KIB: (32 * MIB,), 4 * KIB: (2 * MIB,), 64 * KIB: (512 * MIB,)},
}
"""Architectures that got HVO after the seed: the usual base page first."""

EVERY_ARCHITECTURE = {**ARCHITECTURES, **LATER_ARCHITECTURES}


def vmemmap_by_pmds(architecture: str) -> bool | None:
    """``Geometry.vmemmap_by_pmds``: loongarch has them with every page (arch/loongarch/mm/init.c).

    There it takes a kernel of three levels of page tables or more, as the usual ones are.
    """
    return True if architecture == "loongarch64" else None
