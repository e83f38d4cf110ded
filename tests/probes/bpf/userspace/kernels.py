# SPDX-License-Identifier: Apache-2.0
"""Functions, prototypes and structs of each kernel, and its BTF."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from probes.backend import FULL, MODES
from probes.kernel.btf import Btf
from sim_backend.kernel.generation import GENERATIONS, HeadFrame
from tests.probes.kernel.test_btf import ARRAY, INT, PTR, Blob

BATCH = "hugetlb_vmemmap_optimize_folios"
OPTIMIZE_FOLIO = "__hugetlb_vmemmap_optimize_folio"
OPTIMIZE_FOLIO_PART = "__hugetlb_vmemmap_optimize_folio.part.0"
SINGLE_FOLIO = "hugetlb_vmemmap_optimize_folio"
REMAP_FREE = "vmemmap_remap_free"
REMAP_RANGE = "vmemmap_remap_range"
REMAP_PTE = "vmemmap_remap_pte"
RESTORE_PTE = "vmemmap_restore_pte"
DO_EXIT = "do_exit"

NODES_SHIFT = 6
HSTATE_ORDER = 40
PAGE_FLAGS = 8


_NUMBER, _HSTATE, _PAGE, _FOLIO, _WALK = (
    "unsigned long",
    "*hstate",
    "*page",
    "*folio",
    "*vmemmap_remap_walk",
)
_LIST = _PTE = "*void"


class Prototype(NamedTuple):
    """Parameter types of a function, and whether it returns a value."""

    parameters: tuple[str, ...]
    returns: bool


class Walk(NamedTuple):
    """Byte offsets in struct vmemmap_remap_walk; -1 for a member that does not exist."""

    nr_walked: int
    head: int
    skips: bool
    """The member at ``head`` is reuse_page, not vmemmap_head."""
    reuse_addr: int


_UNCOUNTED = Walk(-1, 8, True, 16)
_REUSING = Walk(8, 16, True, 24)
_HEADED = Walk(8, 16, False, -1)

_WALKING: Mapping[str, Prototype] = {
    REMAP_RANGE: Prototype((_NUMBER, _NUMBER, _WALK), True),
    REMAP_PTE: Prototype((_PTE, _NUMBER, _WALK), False),
    RESTORE_PTE: Prototype((_PTE, _NUMBER, _WALK), False),
    DO_EXIT: Prototype((_NUMBER,), False),
}
_REMAP_FREE = (_NUMBER, _NUMBER, _NUMBER)
_FIRST: Mapping[str, Prototype] = {
    "free_huge_page_vmemmap": Prototype((_HSTATE, _PAGE), False),
    "alloc_huge_page_vmemmap": Prototype((_HSTATE, _PAGE), True),
    REMAP_FREE: Prototype(_REMAP_FREE, True),
    **_WALKING,
}
_V17: Mapping[str, Prototype] = {
    **_FIRST,
    REMAP_FREE: Prototype(_REMAP_FREE, False),
    REMAP_RANGE: Prototype((_NUMBER, _NUMBER, _WALK), False),
}
_PAGES: Mapping[str, Prototype] = {
    "hugetlb_vmemmap_optimize": Prototype((_HSTATE, _PAGE), False),
    "hugetlb_vmemmap_restore": Prototype((_HSTATE, _PAGE), True),
    **_WALKING,
}
_FOLIOS: Mapping[str, Prototype] = {
    BATCH: Prototype((_HSTATE, _LIST), False),
    SINGLE_FOLIO: Prototype((_HSTATE, _FOLIO), False),
    OPTIMIZE_FOLIO: Prototype((_HSTATE, _FOLIO, _LIST, _NUMBER), True),
    "__hugetlb_vmemmap_restore_folio": Prototype((_HSTATE, _FOLIO, _NUMBER), True),
    **_WALKING,
}
_SPLIT: Mapping[str, Prototype] = {**_FOLIOS, OPTIMIZE_FOLIO_PART: _FOLIOS[OPTIMIZE_FOLIO]}


@dataclass(frozen=True)
class Kernel:
    """One build of one generation of the simulator."""

    name: str
    generation: str
    functions: Mapping[str, Prototype]
    walk: Walk
    calls_part_directly: bool = True
    """If GCC split the per-page function: the caller for single pages calls ``.part`` directly."""

    def __str__(self) -> str:
        """Used in test ids."""
        return self.name

    @property
    def modes(self) -> tuple[str, ...]:
        """Supported modes; range mode needs a walk that counts."""
        return MODES if self.walk.nr_walked >= 0 else (FULL,)

    @property
    def is_split(self) -> bool:
        """Whether GCC split the per-page function (7.2)."""
        return OPTIMIZE_FOLIO_PART in self.functions

    @property
    def steps(self) -> frozenset[str]:
        """EncodedCalls of this kernel, by their names in ``probes.backend.STEPS``."""
        return frozenset(GENERATIONS[self.generation].symbols)

    @property
    def optimize(self) -> str:
        """Function that optimizes one huge page."""
        return GENERATIONS[self.generation].symbols["optimize"]

    @property
    def restore(self) -> str:
        """Function that restores one huge page."""
        return GENERATIONS[self.generation].symbols["restore"]

    @property
    def remaps_head(self) -> bool:
        """Whether an optimizing walk gets a page for the head, if memory is available."""
        return GENERATIONS[self.generation].head is not HeadFrame.KEPT

    @property
    def btf(self) -> Btf:
        """BTF of the kernel; compiler-made variants (``.part``) are not described."""
        blob = Blob()
        blob.add(INT, "unsigned int", 4, bytes(4))  # 1
        blob.add(ARRAY, "", 0, struct.pack("<III", 1, 1, 1 << NODES_SHIFT))  # 2
        blob.struct("hstate", 5000, ("order", 1, HSTATE_ORDER), ("nr_huge_pages_node", 2, 80))
        _pointer(blob, _HSTATE, blob.count)
        blob.struct("page", 64, ("flags", 1, PAGE_FLAGS))
        _pointer(blob, _PAGE, blob.count)
        blob.struct("folio", 64, ("page", 1, 0))
        _pointer(blob, _FOLIO, blob.count)
        blob.struct("vmemmap_remap_walk", 64, *self._walk_members())
        _pointer(blob, _WALK, blob.count)
        _pointer(blob, _LIST, 0)
        blob.integer(_NUMBER)
        for symbol, prototype in self.functions.items():
            if "." not in symbol:
                returns = _NUMBER if prototype.returns else ""
                blob.function(symbol, list(prototype.parameters), returns=returns)
        return Btf(blob.bytes())

    def _walk_members(self) -> list[tuple[str, int, int]]:
        head = "reuse_page" if self.walk.skips else "vmemmap_head"
        offsets = {
            "nr_walked": self.walk.nr_walked,
            head: self.walk.head,
            "reuse_addr": self.walk.reuse_addr,
        }
        return [(name, 1, offset) for name, offset in offsets.items() if offset >= 0]


def _pointer(blob: Blob, name: str, target: int) -> None:
    blob.add(PTR, "", target)
    blob.ids[name] = blob.count


KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel("v17-enabled", "v17-enabled", _V17, _UNCOUNTED),
        Kernel("5.14", "5.14", _FIRST, _REUSING),
        Kernel("5.18", "5.18", _FIRST, _REUSING),
        Kernel("6.0", "6.0", _PAGES, _REUSING),
        Kernel("6.2", "6.2", _PAGES, _REUSING),
        Kernel("6.7", "6.7", _FOLIOS, _REUSING),
        Kernel("7.1", "7.1", _FOLIOS, _HEADED),
        # Debian's Linux 7.2 (GCC): the per-page function's first lines are inlined into a caller.
        Kernel("7.2", "7.1", _SPLIT, _HEADED),
        Kernel("7.2-nested", "7.1", _SPLIT, _HEADED, calls_part_directly=False),
    )
}
"""Generations of the simulator, and builds of them that differ for probes, by name."""
