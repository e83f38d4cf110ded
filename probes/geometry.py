# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of HVO: how many frames the struct pages of a huge page fill, and how many are freed.

From patch v17 3/9 (mm/hugetlb_vmemmap.c), whose comment derives::

    struct_size = HugeTLB_Size / PAGE_SIZE * sizeof(struct page) / PAGE_SIZE

``free_vmemmap_pages_per_hpage`` reserves RESERVE_VMEMMAP_NR of these pages (2; since 5.18, 1).
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
    """Parse ``4K``, ``64KB``, ``2MB``, ``16GB`` (binary units) into bytes; or ``ValueError``."""
    match = _SIZE.fullmatch(text.strip())
    if not match or int(match[1]) == 0:
        raise ValueError(f"invalid size {text!r} (expected 4K, 64KB, 2MB, 1GB)")
    return int(match[1]) * _UNITS[match[2].upper()]


@functools.cache
def size_label(size: int) -> str:
    """Format ``size`` bytes as the kernel's documentation does: ``64KB``, ``2MB``, ``1GB``."""
    for unit, name in ((GIB, "GB"), (MIB, "MB"), (KIB, "KB")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def is_power_of_two(number: int) -> bool:
    """Whether ``number`` is 1, 2, 4, ..."""
    return number > 0 and number & (number - 1) == 0


@dataclass(frozen=True)
class Geometry:
    """Base page size and struct page size of a kernel, in bytes."""

    page_size: int = 4 * KIB
    struct_page_size: int = 64
    reserved_pages: int = 2
    """vmemmap pages that keep their own frames: 2 in patch v17, 1 since Linux 5.18."""
    vmemmap_by_pmds: bool | None = None
    """Whether boot maps struct pages with huge PMDs; None: only if base pages are 4 KB."""

    def __post_init__(self) -> None:
        """Validate the fields. Raises ``ValueError``."""
        if not is_power_of_two(self.page_size):
            raise ValueError(f"invalid page size {self.page_size} (expected a power of two)")
        if self.struct_page_size <= 0 or self.reserved_pages < 1:
            raise ValueError(
                f"invalid struct page size {self.struct_page_size} or reserved pages "
                f"{self.reserved_pages} (expected positive numbers)"
            )

    @property
    def page_shift(self) -> int:
        """log2 of the base page size."""
        return self.page_size.bit_length() - 1

    @property
    def ptes_per_table(self) -> int:
        """PTRS_PER_PTE: entries in one page table page, at every level."""
        return self.page_size // PTE_SIZE

    @property
    def maps_vmemmap_with_pmds(self) -> bool:
        """Whether boot maps struct pages with huge PMDs; HVO splits a PMD at its first page.

        With larger base pages arm64 uses vmemmap_populate_basepages, which creates no PMDs to
        split (arch/arm64/mm/mmu.c, vmemmap_populate).
        """
        return self.page_size == 4 * KIB if self.vmemmap_by_pmds is None else self.vmemmap_by_pmds

    @property
    def pmd_size(self) -> int:
        """Bytes that one PMD entry, or one page table page, maps."""
        return self.ptes_per_table * self.page_size

    def order(self, huge_page_size: int) -> int:
        """Page order of a huge page: log2 of its number of base pages. Raises ``ValueError``."""
        pages, rest = divmod(huge_page_size, self.page_size)
        if rest or not is_power_of_two(pages):
            raise ValueError(
                f"invalid huge page size {size_label(huge_page_size)} (expected a power-of-two "
                f"multiple of the {size_label(self.page_size)} page)"
            )
        return pages.bit_length() - 1

    def huge_page_size(self, order: int) -> int:
        """Size in bytes of a huge page of ``order``."""
        return self.page_size << order

    def struct_bytes(self, huge_page_size: int) -> int:
        """Bytes of the struct pages of one huge page."""
        return (1 << self.order(huge_page_size)) * self.struct_page_size

    def vmemmap_pages(self, huge_page_size: int) -> int:
        """struct_size: whole vmemmap pages of one huge page; 0 if they fill less than one."""
        return self.struct_bytes(huge_page_size) // self.page_size

    def free_vmemmap_pages_per_hpage(self, huge_page_size: int) -> int:
        """Net frames that HVO frees for one huge page; 0 if the size can't be optimized.

        The name is that of patch v17 (mm/hugetlb_vmemmap.c).
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
"""The table of patch v17: architecture -> base page size -> huge page sizes, in bytes."""

LATER_ARCHITECTURES: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    # arch/riscv/mm/hugetlbpage.c; 64 KB with the Svnapot extension
    "riscv64": {4 * KIB: (64 * KIB, 2 * MIB, 1 * GIB)},
    # HPAGE_SIZE of arch/loongarch/include/asm/page.h; 16 KB is the default page size
    "loongarch64": {16 * KIB: (32 * MIB,), 4 * KIB: (2 * MIB,), 64 * KIB: (512 * MIB,)},
}
"""Architectures that got HVO after patch v17; the default base page size comes first."""

EVERY_ARCHITECTURE = {**ARCHITECTURES, **LATER_ARCHITECTURES}


def vmemmap_by_pmds(architecture: str) -> bool | None:
    """Value of ``Geometry.vmemmap_by_pmds`` for an architecture.

    loongarch uses huge PMDs with every base page size (arch/loongarch/mm/init.c), if the kernel
    has at least three levels of page tables, as default configurations do.
    """
    return True if architecture == "loongarch64" else None
