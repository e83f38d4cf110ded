# SPDX-License-Identifier: Apache-2.0
"""Where the kernel keeps its huge pages, and the flag of those that are optimized: from BTF."""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.kernel.btf import Btf

FLAG = "HPG_vmemmap_optimized"  # enum hugetlb_page_flags, include/linux/hugetlb.h, Linux 5.14
_POOLS, _NUMBER_OF_POOLS = "hstates", "hugetlb_max_hstate"  # mm/hugetlb.c
_RESIZE_LOCK = "resize_lock"  # struct hstate, Linux 5.13: held while pages come and go
_PAGES_TO_FREE = "hpage_freelist"  # mm/hugetlb.c, Linux 5.14: surplus pages for the kworker
_TWO_RESERVED = "free_huge_page_vmemmap"  # to Linux 5.18, where a member says what a page saves
_NET_FRAMES = ("nr_free_vmemmap_pages", "optimize_vmemmap_pages")  # to Linux 5.18, 5.19


class CensusError(Exception):
    """There can't be a census; the message is one line that says why."""


class UnsettledError(CensusError):
    """Huge pages come and go at this moment; later there may be a census."""


@dataclass(frozen=True)
class CensusFacts:
    """Addresses, and offsets and sizes in bytes."""

    pools: int
    """Of the array of ``struct hstate``."""
    number_of_pools: int
    """Of an int: how many there are."""
    hstate_bytes: int
    order: int
    nr_huge_pages_node: int
    active_list: int
    free_lists: int
    resize_lock: int | None
    """Of its ``owner``, not 0 while the pool is resized; None where no member says so."""
    pages_to_free: int | None
    """Address of the list that waits for the kworker (hpage_freelist); None if not known."""
    max_nodes: int
    net_frames: int | None
    """Of the frames that a page saves; None where no member says so."""
    reserved_page: bool
    """Whether a page keeps one vmemmap page, where no member says what it saves."""
    page_bytes: int
    flags: int
    link: int
    private: int
    optimized_bit: int


def facts_of(btf: Btf | None, symbols: Mapping[str, int]) -> CensusFacts:
    """Find everything. Raises ``CensusError``."""
    if btf is None:
        raise CensusError("the kernel has no BTF, which tells where huge pages are kept")
    for name in (_POOLS, _NUMBER_OF_POOLS):
        if name not in symbols:
            raise CensusError(f"the kernel's symbol table lacks {name} (CONFIG_KALLSYMS_ALL)")
        if not symbols[name]:
            raise CensusError(
                f"the address of {name} is hidden: run as root (kernel.kptr_restrict)"
            )
    try:
        return CensusFacts(
            pools=symbols[_POOLS],
            number_of_pools=symbols[_NUMBER_OF_POOLS],
            hstate_bytes=btf.size("hstate"),
            order=btf.offset("hstate", "order"),
            nr_huge_pages_node=btf.offset("hstate", "nr_huge_pages_node"),
            active_list=btf.offset("hstate", "hugepage_activelist"),
            free_lists=btf.offset("hstate", "hugepage_freelists"),
            resize_lock=_resize_lock(btf),
            pages_to_free=symbols.get(_PAGES_TO_FREE) or None,
            max_nodes=btf.length("hstate", "nr_huge_pages_node"),
            net_frames=next(
                (btf.offset("hstate", name) for name in _NET_FRAMES if btf.has("hstate", name)),
                None,
            ),
            reserved_page=_TWO_RESERVED not in symbols,
            page_bytes=btf.size("page"),
            flags=btf.offset("page", "flags"),
            link=btf.offset("page", "lru"),
            private=btf.offset("page", "private"),
            optimized_bit=btf.enumerator(FLAG),
        )
    except KeyError as error:
        raise CensusError(f"the kernel's BTF does not describe {error}") from error


def _resize_lock(btf: Btf) -> int | None:
    if not btf.has("hstate", _RESIZE_LOCK) or not btf.has("mutex", "owner"):
        return None
    return btf.offset("hstate", _RESIZE_LOCK) + btf.offset("mutex", "owner")
