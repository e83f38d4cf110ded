# SPDX-License-Identifier: Apache-2.0
"""What each test kernel counts for one huge page, by which functions and in which ways."""

from collections.abc import Iterable
from dataclasses import dataclass

from probes.backend import FULL, MODES
from probes.bpf.handover import FENTRY, KPROBE

WAYS = tuple(f"{mode} {attach}" for mode in MODES for attach in (KPROBE, FENTRY))


@dataclass(frozen=True)
class Expected:
    """What a kernel does with one page of each size, and under which names."""

    ptes_2mb: int
    """Remapped, and as many frames freed."""
    ptes_1gb: int
    head: int
    """Frames allocated for a new head page."""
    optimize: str
    remap_range: str
    restore: str
    """Empty where the kernel has none: its pool can only grow."""
    generation: str
    """Of the simulator."""
    ways: tuple[str, ...] = WAYS
    """Modes and ways to attach that it can be watched by."""
    misses_unknown: tuple[str, ...] = ()
    """Ways to attach whose dropped hits nothing counts (trampolines before Linux 5.12)."""

    def done(self, operations: Iterable[str]) -> tuple[str, ...]:
        """Those of the operations that this kernel can do.

        Without a restore each growth is done once, for there is only so much memory; and as there
        is no switch either (Linux 5.19), none that wants it off.
        """
        if self.restore:
            return tuple(operations)
        on, grown = True, []
        for operation in operations:
            if operation.startswith("hvo"):
                on = operation == "hvo on"
            elif on and operation.startswith("grow") and operation not in grown:
                grown.append(operation)
        return tuple(grown)


FOLIO = (
    "__hugetlb_vmemmap_optimize_folio",
    "vmemmap_remap_range",
    "__hugetlb_vmemmap_restore_folio",
)
_PATCHED = (
    *(6, 4094, 0),
    *("free_huge_page_vmemmap", "vmemmap_remap_free", "alloc_huge_page_vmemmap"),
    "v17-enabled",
)
_HEADS = (8, 4096, 1, *FOLIO)
EXPECTED = {
    # Two reserved vmemmap pages of 8 and of 4096.
    "v17": Expected(
        *(6, 4094, 0),
        *("free_huge_page_vmemmap", "vmemmap_remap_free", ""),
        "v17-enabled",
        # Its walk has no nr_walked, which mode range counts by.
        ways=(f"{FULL} {KPROBE}", f"{FULL} {FENTRY}"),
        misses_unknown=(FENTRY,),
    ),
    "patched": Expected(*_PATCHED),
    "patched-no-btf": Expected(*_PATCHED, ways=(f"{FULL} {KPROBE}",)),  # only BTF has the walk
    # One reserved.
    "debian-6.1": Expected(
        *(7, 4095, 0),
        *("hugetlb_vmemmap_optimize", "vmemmap_remap_range", "hugetlb_vmemmap_restore"),
        "6.0",
    ),
    # One reserved, which is a new page.
    "debian-6.12-113": Expected(*_HEADS, "6.11"),
    # From 6.12.114 on 6.12 has the walk of 7.1 (vmemmap_head).
    "debian-6.12": Expected(*_HEADS, "6.12.114"),
    "debian-6.12-stock": Expected(*_HEADS, "6.12.114"),
    "debian-6.16": Expected(*_HEADS, "6.15"),
    "debian-6.17": Expected(*_HEADS, "6.15"),
    "debian-6.18": Expected(*_HEADS, "6.15"),
    "debian-6.19": Expected(*_HEADS, "6.15"),
    "debian-7.0": Expected(*_HEADS, "6.15"),
    "debian-7.1": Expected(*_HEADS, "7.1"),
    "debian-sid": Expected(*_HEADS, "7.1"),
    "debian-newest": Expected(*_HEADS, "7.3"),
}
