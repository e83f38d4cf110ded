# SPDX-License-Identifier: Apache-2.0
"""How HVO differs from kernel to kernel, as data: one row per generation.

A generation is named after the first release that has it. Where a difference needs code, a table
from one of the enumerations here to a function selects it (``sparse_vmemmap``, ``vmemmap_head``,
``hugetlb_demote``); nothing compares versions. docs/generations.md says which kernels prove a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum


class VmemmapMapping(Enum):
    """How the kernel maps vmemmap at boot."""

    BASE_PAGES = "base pages"
    """Patch v17 asks for it (mm/sparse-vmemmap.c, vmemmap_remap_free: "Note")."""
    PMD = "pmd"
    """With huge pages where it can, split on first touch (from 5.14: split_vmemmap_huge_pmd)."""


class ListAdd(Enum):
    """At which end of a list the kernel adds frames."""

    FRONT = "list_add"
    BACK = "list_add_tail"


class HeadFrame(Enum):
    """What becomes of the frame that holds the head struct page."""

    KEPT = "kept"
    """It stays, and a frame of the huge page's own is shared (v17 to 6.1)."""
    COPIED = "copied"
    """Copied to a new frame, which tails share, if memory allows (6.2 to 7.0: 11aad2631bf7)."""
    REQUIRED = "required"
    """Copied, or -ENOMEM; tails share one frame per zone and order (7.1: vmemmap_get_tail)."""
    REQUIRED_SHARED = "required and shared"
    """Copied, or -ENOMEM; tails share it, and a restore copies it whole: without
    reset_struct_pages, each restored frame begins with a copy of the head (6.12.114, 6.18.51)."""


class PoolInterface(Enum):
    """How mm/hugetlb.c hands huge pages to mm/hugetlb_vmemmap.c."""

    PAGES = "pages"
    """One by one, restored whether optimised or not (v17 to 6.6)."""
    FOLIO_LISTS = "folio lists"
    """A whole request at once: split pass, remap pass, one free at the end. Frames may come from
    any node; only optimised pages are restored (6.7: hugetlb_vmemmap_optimize_folios)."""


class Demotion(Enum):
    """How a huge page becomes pages of a smaller size."""

    PART_BY_PART = "part by part"
    """Page by page, nodes in turn. Each part is prepared alone and freed, so it goes away where
    the target pool has surplus (5.16 to 6.10: demote_free_huge_page)."""
    BATCHED = "batched"
    """All of the request, node after node; the parts of a node are one list, last part first
    (6.11: "mm/hugetlb_vmemmap: batch HVO work when demoting", demote_free_hugetlb_folios)."""


class SelfHosted(Enum):
    """What is done to a huge page whose struct pages lie in hot-added memory itself."""

    EXCLUDED = "excluded"
    """Such memory does not exist beside HVO (5.14 to 5.19: mhp_supports_memmap_on_memory)."""
    SKIPPED = "skipped"
    """Not optimised (6.0 to 6.7: vmemmap_should_optimize)."""
    REFUSED = "refused"
    """-ENOTSUPP out of the page table walk (6.8: vmemmap_pmd_entry)."""


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
    remapped: ListAdd = ListAdd.BACK
    """How vmemmap_remap_pte adds to the list of frames to free."""
    allocated: ListAdd = ListAdd.BACK
    """How alloc_vmemmap_page_list adds to the list of frames to map."""
    interface: PoolInterface = PoolInterface.PAGES
    demotion: Demotion = Demotion.PART_BY_PART
    self_hosted: SelfHosted = SelfHosted.EXCLUDED
    pre_hvo: bool = False
    """Gigantic pages of the command line never get the struct pages that HVO would free
    (hugetlb_vmemmap_init_early, _late)."""
    parallel_boot: bool = False
    """hugepages= is allocated in parts, each from the first node on (hugetlb_pages_alloc_boot, 6.9
    to 6.14; later a second thread takes eight CPUs)."""
    boot_cursor: bool = False
    """hugepages= goes over the nodes by a cursor of its own, so the first page of run time is of
    the first node (hugetlb_pages_alloc_boot_node, from 6.9 on)."""
    empty_list_returns: bool = False
    """hugetlb_vmemmap_optimize_folios flushes no TLB for an empty list."""
    sysctl: bool = True
    """Whether it has vm.hugetlb_optimize_vmemmap (from 5.19 on)."""
    memmap_counters: bool = False
    """Whether it has nr_memmap_pages in /proc/vmstat (from 6.11 on)."""


def _symbols(optimize: str, remap_range: str, restore: str) -> Mapping[str, str]:
    return {
        "optimize": optimize,
        "remap_range": remap_range,
        "remap_pte": "vmemmap_remap_pte",
        "restore": restore,
        "restore_pte": "vmemmap_restore_pte",
    }


_V17_ENABLED = Generation(
    name="v17-enabled",
    origin="[PATCH v17 3/9], 25 Feb 2021, with the arithmetic of its comment switched on",
    reserved_pages=2,
    symbols=_symbols("free_huge_page_vmemmap", "vmemmap_remap_free", "alloc_huge_page_vmemmap"),
    mapping=VmemmapMapping.BASE_PAGES,
    remapped=ListAdd.FRONT,
    sysctl=False,
)
_V17 = replace(
    _V17_ENABLED,
    name="v17",
    origin="[PATCH v17 3/9], 25 Feb 2021: free_vmemmap_pages_per_hpage returns zero",
    feature=False,
)
_5_14 = replace(
    _V17_ENABLED,
    name="5.14",
    origin="Linux 5.14 to 5.17, mm/sparse-vmemmap.c and mm/hugetlb_vmemmap.c (read: 5.15-rc6)",
    mapping=VmemmapMapping.PMD,
    remapped=ListAdd.BACK,
)
_5_18 = replace(
    _5_14,
    name="5.18",
    origin="Linux 5.18, commit e7d324850bfc (free the 2nd vmemmap page)",
    reserved_pages=1,
)
_5_19 = replace(
    _5_18,
    name="5.19",
    origin="Linux 5.19, mm/hugetlb_vmemmap.c as of 0111def915b2: other names, a sysctl",
    symbols=_symbols("hugetlb_vmemmap_free", "vmemmap_remap_free", "hugetlb_vmemmap_alloc"),
    sysctl=True,
)
_6_0 = replace(
    _5_19,
    name="6.0",
    origin="Linux 6.0 and 6.1, mm/hugetlb_vmemmap.c (read: Debian 6.1.192)",
    # vmemmap_remap_free became static and is inlined: no symbol, no probe.
    symbols=_symbols("hugetlb_vmemmap_optimize", "vmemmap_remap_range", "hugetlb_vmemmap_restore"),
    self_hosted=SelfHosted.SKIPPED,
)
_6_2 = replace(
    _6_0,
    name="6.2",
    origin="Linux 6.2 to 6.6, commit 11aad2631bf7 (head page to a newly allocated page)",
    head=HeadFrame.COPIED,
)
_6_7 = replace(
    _6_2,
    name="6.7",
    origin="Linux 6.7, mm/hugetlb.c and mm/hugetlb_vmemmap.c as of commit c5ad3233ead5",
    symbols={
        "batch": "hugetlb_vmemmap_optimize_folios",
        **_symbols(
            "__hugetlb_vmemmap_optimize_folio",
            "vmemmap_remap_range",
            "__hugetlb_vmemmap_restore_folio",
        ),
    },
    remapped=ListAdd.FRONT,
    allocated=ListAdd.FRONT,
    interface=PoolInterface.FOLIO_LISTS,
)
_6_8 = replace(
    _6_7,
    name="6.8",
    origin="Linux 6.8 to 6.10, vmemmap_pmd_entry of mm/hugetlb_vmemmap.c",
    self_hosted=SelfHosted.REFUSED,
)
_6_11 = replace(
    _6_8,
    name="6.11",
    origin="Linux 6.11 to 6.14, demote_free_hugetlb_folios, 9d8573111024 (read: Debian 6.12.113)",
    demotion=Demotion.BATCHED,
    parallel_boot=True,
    boot_cursor=True,
    memmap_counters=True,
)
_6_12_114 = replace(
    _6_11,
    name="6.12.114",
    origin="stable 6.12.114 and later: 7.1's walk, vmemmap_tail = vmemmap_head (Debian 6.12.118)",
    head=HeadFrame.REQUIRED_SHARED,
)
_6_15 = replace(
    _6_11,
    name="6.15",
    origin="Linux 6.15 to 7.0, hugetlb_vmemmap_optimize_bootmem_folios: pre-HVO",
    pre_hvo=True,
    parallel_boot=False,
)
_6_18_51 = replace(
    _6_15,
    name="6.18.51",
    origin="stable 6.18.51 and later: by its list of commits what 6.12.114 has, on 6.15's ground",
    head=HeadFrame.REQUIRED_SHARED,
)
_7_1 = replace(
    _6_15,
    name="7.1",
    origin="Linux 7.1 and 7.2, 'mm: Eliminate fake head pages' (v7) with 'fix incorrect vmemmap "
    "restore in rollback' (read: Debian 7.2.13)",
    head=HeadFrame.REQUIRED,
)
_7_3 = replace(
    _7_1,
    name="7.3",
    origin="Linux 7.3: hugetlb_vmemmap_init_early populates, an empty list returns early "
    "(read: Debian 7.3.4)",
    empty_list_returns=True,
)

GENERATIONS: Mapping[str, Generation] = {
    generation.name: generation
    for generation in (
        *(_V17, _V17_ENABLED, _5_14, _5_18, _5_19, _6_0, _6_2, _6_7, _6_8),
        *(_6_11, _6_12_114, _6_15, _6_18_51, _7_1, _7_3),
    )
}
"""By name, oldest first."""

NEWEST = _7_3.name
"""The generation of the newest kernel."""
