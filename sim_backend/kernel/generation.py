# SPDX-License-Identifier: Apache-2.0
"""How HVO differs from kernel to kernel, as data. A generation is named after its first release.

Where a difference needs code, a table from one of the enumerations here to a function picks it
(``sparse_vmemmap``, ``hugetlb_vmemmap``, ``hugetlb``); nothing compares versions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class VmemmapMapping(Enum):
    """How the kernel maps vmemmap at boot."""

    BASE_PAGES = "base pages"
    """The seed asks for it (mm/sparse-vmemmap.c, vmemmap_remap_free: "Note")."""
    PMD = "pmd"
    """With huge pages where it can, split on first touch (from 5.14: split_vmemmap_huge_pmd)."""


class HeadFrame(Enum):
    """What becomes of the frame that holds the head struct page."""

    KEPT = "kept"
    """It stays, and a frame of the huge page's own is shared (the seed to 6.1)."""
    COPIED = "copied"
    """Copied to a new frame, which is shared, if one can be had (6.2 to 7.0: 11aad2631bf7)."""
    REQUIRED = "required"
    """Copied or given up; tails share one frame per zone and order (7.1: vmemmap_get_tail)."""


class PoolInterface(Enum):
    """How mm/hugetlb.c hands huge pages to mm/hugetlb_vmemmap.c."""

    PAGES = "pages"
    """One by one, restored whether optimised or not (the seed to 6.6)."""
    FOLIO_LISTS = "folio lists"
    """A whole request at once: split pass, remap pass, one free at the end. Frames may come from
    any node; only optimised pages are restored (6.7: hugetlb_vmemmap_optimize_folios)."""


@dataclass(frozen=True)
class Generation:
    """One generation of HVO. ``symbols`` names the kernel function of each step."""

    name: str
    origin: str
    """The commit or release and the file that it is written after."""
    reserved_pages: int
    """vmemmap pages of a huge page that keep a frame of their own."""
    symbols: Mapping[str, str]
    """By step of ``probes.backend.STEPS``, those that it has; ``remap_range`` is also the hook of
    that event."""
    feature: bool = True
    """False: free_vmemmap_pages_per_hpage returns zero whatever the size."""
    mapping: VmemmapMapping = VmemmapMapping.PMD
    head: HeadFrame = HeadFrame.KEPT
    interface: PoolInterface = PoolInterface.PAGES
    sysctl: bool = True
    """Whether its first release has vm.hugetlb_optimize_vmemmap (from 5.19 on)."""
    memmap_counters: bool = False
    """Whether its first release has nr_memmap_pages in /proc/vmstat (from 6.11 on)."""


def _symbols(optimize: str, remap_range: str, restore: str) -> Mapping[str, str]:
    return {
        "optimize": optimize,
        "remap_range": remap_range,
        "remap_pte": "vmemmap_remap_pte",
        "restore": restore,
        "restore_pte": "vmemmap_restore_pte",
    }


_SEED_SYMBOLS = _symbols("free_huge_page_vmemmap", "vmemmap_remap_free", "alloc_huge_page_vmemmap")
# vmemmap_remap_free became static in 6.0 and is inlined: no symbol, no probe.
_PAGE_SYMBOLS = _symbols(
    "hugetlb_vmemmap_optimize", "vmemmap_remap_range", "hugetlb_vmemmap_restore"
)
_FOLIO_SYMBOLS = {
    "batch": "hugetlb_vmemmap_optimize_folios",
    **_symbols(
        "__hugetlb_vmemmap_optimize_folio", "vmemmap_remap_range", "__hugetlb_vmemmap_restore_folio"
    ),
}

_ALL = (
    Generation(
        name="v17",
        origin="[PATCH v17 3/9], 25 Feb 2021: free_vmemmap_pages_per_hpage returns zero",
        reserved_pages=2,
        symbols=_SEED_SYMBOLS,
        feature=False,
        mapping=VmemmapMapping.BASE_PAGES,
        sysctl=False,
    ),
    Generation(
        name="v17-enabled",
        origin="[PATCH v17 3/9], 25 Feb 2021, with the arithmetic of its comment switched on",
        reserved_pages=2,
        symbols=_SEED_SYMBOLS,
        mapping=VmemmapMapping.BASE_PAGES,
        sysctl=False,
    ),
    Generation(
        name="5.14",
        origin="Linux 5.14 to 5.17, mm/sparse-vmemmap.c and mm/hugetlb_vmemmap.c",
        reserved_pages=2,
        symbols=_SEED_SYMBOLS,
        sysctl=False,
    ),
    Generation(
        name="5.18",
        origin="Linux 5.18 and 5.19, commit e7d324850bfc (free the 2nd vmemmap page)",
        reserved_pages=1,
        symbols=_SEED_SYMBOLS,
        sysctl=False,
    ),
    Generation(
        name="6.0",
        origin="Linux 6.0 and 6.1, mm/hugetlb_vmemmap.c: 5.18's arithmetic, other hooks",
        reserved_pages=1,
        symbols=_PAGE_SYMBOLS,
    ),
    Generation(
        name="6.2",
        origin="Linux 6.2 to 6.6, commit 11aad2631bf7 (head page to a newly allocated page)",
        reserved_pages=1,
        symbols=_PAGE_SYMBOLS,
        head=HeadFrame.COPIED,
    ),
    Generation(
        name="6.7",
        origin="Linux 6.7 to 7.0, mm/hugetlb_vmemmap.c as of commit c5ad3233ead5",
        reserved_pages=1,
        symbols=_FOLIO_SYMBOLS,
        head=HeadFrame.COPIED,
        interface=PoolInterface.FOLIO_LISTS,
    ),
    Generation(
        name="7.1",
        origin="Linux 7.1, 'mm: Eliminate fake head pages from vmemmap optimization' (v7)",
        reserved_pages=1,
        symbols=_FOLIO_SYMBOLS,
        head=HeadFrame.REQUIRED,
        interface=PoolInterface.FOLIO_LISTS,
        memmap_counters=True,
    ),
)

GENERATIONS: Mapping[str, Generation] = {generation.name: generation for generation in _ALL}
"""By name, oldest first."""


def find_generation(name: str) -> Generation:
    """Look up ``name``; ``ValueError`` lists the names there are."""
    try:
        return GENERATIONS[name]
    except KeyError:
        known = ", ".join(GENERATIONS)
        raise ValueError(f"no kernel generation {name!r} (there are {known})") from None
