# SPDX-License-Identifier: Apache-2.0
"""What a probe finds in each kernel: functions, their prototypes, and structs, as BTF has them."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from probes.live.btf import Btf
from sim_backend.generation import GENERATIONS, HeadFrame
from tests.probes.live.test_btf import ARRAY, FUNC, FUNC_PROTO, INT, Blob

BATCH = "hugetlb_vmemmap_optimize_folios"
OPTIMIZE_FOLIO = "__hugetlb_vmemmap_optimize_folio"
OPTIMIZE_FOLIO_PART = "__hugetlb_vmemmap_optimize_folio.part.0"
SINGLE_FOLIO = "hugetlb_vmemmap_optimize_folio"
REMAP_FREE = "vmemmap_remap_free"
REMAP_RANGE = "vmemmap_remap_range"
REMAP_PTE = "vmemmap_remap_pte"
RESTORE_PTE = "vmemmap_restore_pte"

NODES_SHIFT = 6
HSTATE_ORDER = 40
PAGE_FLAGS = 8


class Prototype(NamedTuple):
    """How many parameters a function has, and whether it returns anything."""

    parameters: int
    returns: bool


class Walk(NamedTuple):
    """Byte offsets in struct vmemmap_remap_walk; ``reuse_addr`` is -1 where there is none."""

    nr_walked: int
    head: int
    skips: bool
    """The member at ``head`` is reuse_page, not vmemmap_head."""
    reuse_addr: int


_REUSING = Walk(8, 16, True, 24)
_HEADED = Walk(8, 16, False, -1)

_WALKING: Mapping[str, Prototype] = {
    REMAP_RANGE: Prototype(3, True),
    REMAP_PTE: Prototype(3, False),
    RESTORE_PTE: Prototype(3, False),
}
_SEED: Mapping[str, Prototype] = {
    "free_huge_page_vmemmap": Prototype(2, False),
    "alloc_huge_page_vmemmap": Prototype(2, True),
    REMAP_FREE: Prototype(3, True),
    **_WALKING,
}
_PAGES: Mapping[str, Prototype] = {
    "hugetlb_vmemmap_optimize": Prototype(2, False),
    "hugetlb_vmemmap_restore": Prototype(2, True),
    **_WALKING,
}
_FOLIOS: Mapping[str, Prototype] = {
    BATCH: Prototype(2, False),
    SINGLE_FOLIO: Prototype(2, False),
    OPTIMIZE_FOLIO: Prototype(4, True),
    "__hugetlb_vmemmap_restore_folio": Prototype(3, True),
    **_WALKING,
}
_SPLIT: Mapping[str, Prototype] = {**_FOLIOS, OPTIMIZE_FOLIO_PART: Prototype(4, True)}


@dataclass(frozen=True)
class Kernel:
    """One build of one generation of the simulator."""

    name: str
    generation: str
    functions: Mapping[str, Prototype]
    walk: Walk
    goes_past: bool = True
    """Of a function that GCC split: a page fault's caller goes past its head, into ``.part``."""

    def __str__(self) -> str:
        """For the name of a test."""
        return self.name

    @property
    def parted(self) -> bool:
        """GCC split the per-page function (7.2)."""
        return OPTIMIZE_FOLIO_PART in self.functions

    @property
    def steps(self) -> frozenset[str]:
        """What it does, by the names of ``probes.backend.STEPS``."""
        return frozenset(GENERATIONS[self.generation].symbols)

    @property
    def optimize(self) -> str:
        """The function that optimises one huge page."""
        return GENERATIONS[self.generation].symbols["optimize"]

    @property
    def restore(self) -> str:
        """The function that restores one huge page."""
        return GENERATIONS[self.generation].symbols["restore"]

    @property
    def remaps_head(self) -> bool:
        """A walk that optimises is given a page for the head, if there is memory for one."""
        return GENERATIONS[self.generation].head is not HeadFrame.KEPT

    @property
    def btf(self) -> Btf:
        """Its BTF; what the compiler made of a function (``.part``) is not described."""
        blob = Blob()
        blob.add(INT, "int", 4, bytes(4))  # 1
        blob.add(ARRAY, "", 0, struct.pack("<III", 1, 1, 1 << NODES_SHIFT))  # 2
        blob.struct("hstate", 5000, ("order", 1, HSTATE_ORDER), ("nr_huge_pages_node", 2, 80))
        blob.struct("page", 64, ("flags", 1, PAGE_FLAGS))
        blob.struct("vmemmap_remap_walk", 64, *self._walk_members())
        types = 5
        for symbol, prototype in self.functions.items():
            if "." not in symbol:
                parameters = struct.pack("<II", 0, 1) * prototype.parameters
                blob.add(FUNC_PROTO, "", int(prototype.returns), parameters, prototype.parameters)
                blob.add(FUNC, symbol, types + 1)
                types += 2
        return Btf(blob.bytes())

    def _walk_members(self) -> list[tuple[str, int, int]]:
        head = "reuse_page" if self.walk.skips else "vmemmap_head"
        members = [("nr_walked", 1, self.walk.nr_walked), (head, 1, self.walk.head)]
        if self.walk.reuse_addr >= 0:
            members.append(("reuse_addr", 1, self.walk.reuse_addr))
        return members


KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel("v17-enabled", "v17-enabled", {**_SEED, REMAP_FREE: Prototype(3, True)}, _REUSING),
        Kernel("5.14", "5.14", _SEED, _REUSING),
        Kernel("5.18", "5.18", _SEED, _REUSING),
        Kernel("6.0", "6.0", _PAGES, _REUSING),
        Kernel("6.2", "6.2", _PAGES, _REUSING),
        Kernel("6.7", "6.7", _FOLIOS, _REUSING),
        Kernel("7.1", "7.1", _FOLIOS, _HEADED),
        # Debian's Linux 7.2 (GCC): the optimisation's head is inlined into its second caller.
        Kernel("7.2", "7.1", _SPLIT, _HEADED),
        Kernel("7.2-nested", "7.1", _SPLIT, _HEADED, goes_past=False),
    )
}
"""By name: the simulator's generations, and builds of them that look different to a probe."""
