# SPDX-License-Identifier: Apache-2.0
"""Which kernel function stands for which semantic step: one table, newest names first.

Chosen by what the kernel has, never by its version. The next kernel generation is a line here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from probes.backend import STEPS
from probes.counters import SLOTS, Slot


@dataclass(frozen=True)
class Candidate:
    """A function that may stand for a step."""

    symbol: str
    returns_errno: bool = False
    """The function itself says whether it failed (else the range function does)."""
    has_walk: bool = False
    """Its third argument is a struct vmemmap_remap_walk, not the reuse address."""


CANDIDATES: Mapping[str, tuple[Candidate, ...]] = {
    "optimize": (
        # Linux 6.0
        Candidate("hugetlb_vmemmap_optimize"),
        # Linux 5.19
        Candidate("hugetlb_vmemmap_free"),
        # Linux 5.14, and the seed (patch v17 3/9)
        Candidate("free_huge_page_vmemmap"),
    ),
    "remap_range": (
        # Linux 5.14 to 5.19, global in mm/sparse-vmemmap.c, and the seed. From 6.0 on it is static
        # in mm/hugetlb_vmemmap.c and inlined into its one caller.
        Candidate("vmemmap_remap_free", returns_errno=True),
        # In every build from 5.15 on: what vmemmap_remap_free calls.
        Candidate("vmemmap_remap_range", returns_errno=True, has_walk=True),
    ),
    "remap_pte": (Candidate("vmemmap_remap_pte"),),
    "restore": (
        Candidate("hugetlb_vmemmap_restore", returns_errno=True),  # Linux 6.0
        Candidate("hugetlb_vmemmap_alloc", returns_errno=True),  # Linux 5.19
        Candidate("alloc_huge_page_vmemmap", returns_errno=True),  # Linux 5.14
    ),
    "restore_pte": (Candidate("vmemmap_restore_pte"),),
}

SWITCHES: tuple[str, ...] = (
    "vmemmap_optimize_enabled",  # Linux 5.19: static bool in mm/hugetlb_vmemmap.c
    "hugetlb_free_vmemmap_enabled",  # Linux 5.14: bool
)
"""The variable behind the boot parameter and the sysctl; one byte is enough to read it."""

_OPTIMIZED = frozenset({"optimize", "remap_range", "remap_pte"})
_RESTORED = frozenset({"restore", "restore_pte"})
_NEEDS: Mapping[Slot, frozenset[str]] = {
    Slot("optimize_calls"): frozenset({"optimize"}),
    Slot("frames_allocated", "restore"): _RESTORED,
    Slot("hugepages_restored"): _RESTORED,
    Slot("ptes_restored"): _RESTORED,
    Slot("restore_failures", "ENOMEM"): frozenset({"restore"}),
    Slot("restore_failures", "other"): frozenset({"restore"}),
}


def choose(symbols: Collection[str]) -> dict[str, Candidate | None]:
    """Pick for each step the newest candidate that the kernel has; None where it has none."""
    return {
        step: next((c for c in CANDIDATES[step] if c.symbol in symbols), None) for step in STEPS
    }


def find_switch(symbols: Mapping[str, int]) -> int:
    """Address of the kernel's HVO switch; 0 when it is not shown."""
    return next((symbols[name] for name in SWITCHES if symbols.get(name)), 0)


def observed_slots(attached: Collection[str]) -> frozenset[Slot]:
    """What can be counted with these steps attached; everything else must stay absent."""
    steps = frozenset(attached)
    return frozenset(slot for slot in SLOTS if _NEEDS.get(slot, _OPTIMIZED) <= steps)
