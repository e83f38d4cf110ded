# SPDX-License-Identifier: Apache-2.0
"""A huge page and the pool of one size (struct hstate, include/linux/hugetlb.h)."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class HugePage:
    """The head ``struct page`` of a huge page, with what the kernel keeps in its tails."""

    pfn: int
    nid: int
    vmemmap_optimized: bool = False
    """HPageVmemmapOptimized: its vmemmap shares a frame."""
    freed: bool = False
    """HPageFreed: on the free list of its pool."""
    head_copies: bool = False
    """Frames of its vmemmap begin with copies of a head, its own or a demoted page's (6.12.114)."""


@dataclass(eq=False, slots=True)
class Hstate:
    """Huge pages of one size. Counts are pages; lists and ``*_node`` go by NUMA node."""

    size: int
    """Bytes of one huge page."""
    order: int
    gigantic: bool
    """Too large for a real buddy allocator (hstate_is_gigantic)."""
    nodes: int
    free_huge_pages_node: list[int] = field(init=False)
    nr_huge_pages_node: list[int] = field(init=False)
    surplus_huge_pages_node: list[int] = field(init=False)
    hugepage_freelists: list[deque[HugePage]] = field(init=False)
    hugepage_activelist: deque[HugePage] = field(default_factory=deque)
    """Pages that tasks have mapped, first come first."""
    resv_huge_pages: int = 0
    """Reserved pages belong to no node."""
    nr_overcommit_huge_pages: int = 0
    next_nid_to_alloc: int = 0
    next_nid_to_free: int = 0

    def __post_init__(self) -> None:
        """Begin with an empty pool."""
        self.free_huge_pages_node = [0] * self.nodes
        self.nr_huge_pages_node = [0] * self.nodes
        self.surplus_huge_pages_node = [0] * self.nodes
        self.hugepage_freelists = [deque() for _ in range(self.nodes)]

    def pages(self, nid: int) -> Iterator[HugePage]:
        """All pages of a node that are on a list, in use or free."""
        yield from self.hugepage_freelists[nid]
        yield from (page for page in self.hugepage_activelist if page.nid == nid)

    @property
    def pages_per_huge_page(self) -> int:
        """Base pages in one huge page."""
        return 1 << self.order

    @property
    def nr_huge_pages(self) -> int:
        """All pages of the pool, in use or not, surplus included."""
        return sum(self.nr_huge_pages_node)

    @property
    def free_huge_pages(self) -> int:
        """Pages that are not in use."""
        return sum(self.free_huge_pages_node)

    @property
    def available_huge_pages(self) -> int:
        """Free pages that are not reserved."""
        return self.free_huge_pages - self.resv_huge_pages

    @property
    def surplus_huge_pages(self) -> int:
        """Pages above the size that was asked for."""
        return sum(self.surplus_huge_pages_node)

    @property
    def persistent_huge_pages(self) -> int:
        """Pages that stay in the pool when they are not in use."""
        return self.nr_huge_pages - self.surplus_huge_pages
