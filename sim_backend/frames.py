# SPDX-License-Identifier: Apache-2.0
"""Page frames: the boot allocator (memblock), the buddy allocator, and who frees what to where.

A frame is a page frame number (pfn). Its ``struct page`` exists here only while it differs from
what boot left behind, so that a machine of many gigabytes stays small.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from sim_backend.errors import vm_bug_on_page

SECTION_INFO = 12
"""page->freelist of a memblock frame that holds struct pages (include/linux/bootmem_info.h)."""
MIX_SECTION_INFO = 13
"""The same for a memblock frame that holds page tables."""


class Page:
    """``struct page`` of one frame: the fields that HVO reads or writes."""

    __slots__ = ("freelist", "nid", "pfn", "refcount", "reserved")

    def __init__(self, pfn: int, nid: int, magic: int) -> None:
        """``magic`` is 0 for a frame of the buddy allocator."""
        self.pfn = pfn
        self.nid = nid
        self.reserved = magic != 0
        """PG_reserved: the frame came from memblock."""
        self.refcount = 2 if magic else 0
        """page_ref_count: memblock's own and get_page_bootmem's; 0 while free."""
        self.freelist = magic


class Reserved(NamedTuple):
    """A run of frames [start, end) that memblock handed out at boot, and its bootmem magic."""

    start: int
    end: int
    magic: int


class Memblock:
    """The boot allocator of one node; hands out from the top down, as mm/memblock.c does."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.low = end
        """Lowest frame handed out so far."""
        self._reserved: list[Reserved] = []
        self._holes: list[tuple[int, int]] = []

    def alloc(self, frames: int, align: int, magic: int) -> int:
        """Take ``frames`` frames aligned to ``align`` frames, and return the first.

        Raises ``ValueError`` when the node is too small.
        """
        start = (self.low - frames) // align * align
        if start < self.start:
            raise ValueError(f"memory for struct pages does not fit: {frames} frames are missing")
        if start + frames < self.low:
            self._holes.append((start + frames, self.low))
        last = self._reserved[-1] if self._reserved else None
        if last is not None and last.start == start + frames and last.magic == magic:
            self._reserved[-1] = last._replace(start=start)
        else:
            self._reserved.append(Reserved(start, start + frames, magic))
        self.low = start
        return start

    def free_all(self) -> Iterator[tuple[int, int]]:
        """Yield the runs [start, end) left for the buddy allocator, and close for business."""
        self._reserved.reverse()
        yield self.start, self.low
        yield from self._holes

    def frames(self) -> Iterator[int]:
        """Every frame that it handed out."""
        return chain.from_iterable(range(run.start, run.end) for run in self._reserved)

    def magic(self, pfn: int) -> int:
        """The bootmem magic that ``pfn`` had at boot; 0 if memblock did not hand it out."""
        if pfn < self.low:
            return 0
        found = self._reserved[bisect_right(self._reserved, pfn, key=lambda run: run.start) - 1]
        return found.magic if pfn < found.end else 0


class Buddy:
    """The buddy allocator of one node (mm/page_alloc.c): free blocks of 2^order frames.

    ``max_order`` reaches up to the largest huge page. So one allocator stands in for
    alloc_contig_pages as well, which finds such a run in a real kernel by migrating pages.
    A real one also keeps what can't be moved together, by pageblocks of 2^``pageblock_order``
    frames. Here huge pages come from the top of memory and single frames from the bottom.
    """

    def __init__(self, max_order: int, pageblock_order: int) -> None:
        self._max_order = max_order
        self._pageblock_order = pageblock_order
        # Dictionaries used as ordered sets: what was freed last is taken first, always the same.
        self._free_area: list[dict[int, None]] = [{} for _ in range(max_order + 1)]
        self.nr_free = 0
        """Free frames."""

    def free(self, pfn: int, order: int) -> None:
        """Give back the block at ``pfn`` and merge it with its buddies (__free_one_page)."""
        self.nr_free += 1 << order
        while order < self._max_order:
            buddy = pfn ^ (1 << order)
            if buddy not in self._free_area[order]:
                break
            del self._free_area[order][buddy]
            pfn &= buddy
            order += 1
        self._free_area[order][pfn] = None

    def alloc(self, order: int) -> int | None:
        """Take a block, split off a larger one if need be (__rmqueue); None if there is none."""
        taken = self._take(order)
        if taken is None:
            return None
        pfn, found = taken
        for half in range(found - 1, order - 1, -1):
            self._free_area[half][pfn + (1 << half)] = None
        self.nr_free -= 1 << order
        return pfn

    def _take(self, order: int) -> tuple[int, int] | None:
        """Take the block to allocate from off its list: its frame and order."""
        for found in range(order, self._pageblock_order):
            if self._free_area[found]:
                return self._free_area[found].popitem()[0], found
        large = range(max(order, self._pageblock_order), self._max_order + 1)
        if order < self._pageblock_order:
            blocks = (
                (min(self._free_area[found]), found) for found in large if self._free_area[found]
            )
            taken = min(blocks, default=None)
        else:
            smallest = next((found for found in large if self._free_area[found]), None)
            taken = None if smallest is None else (max(self._free_area[smallest]), smallest)
        if taken is not None:
            del self._free_area[taken[1]][taken[0]]
        return taken

    def free_run(self, start: int, end: int) -> None:
        """Give back the run [start, end) in blocks as large as alignment allows."""
        while start < end:
            aligned = (start & -start).bit_length() - 1 if start else self._max_order
            order = min(aligned, (end - start).bit_length() - 1, self._max_order)
            self.free(start, order)
            start += 1 << order

    def take_all(self) -> list[tuple[int, int]]:
        """Take everything, as runs [start, end), the largest first."""
        runs = sorted(self.runs(), key=lambda run: run[0] - run[1])
        for blocks in self._free_area:
            blocks.clear()
        self.nr_free = 0
        return runs

    def runs(self) -> list[tuple[int, int]]:
        """Free blocks as runs [start, end), in ascending order."""
        return sorted(
            (pfn, pfn + (1 << order))
            for order, blocks in enumerate(self._free_area)
            for pfn in blocks
        )


class Node:
    """Memory of one NUMA node: frames [start, end)."""

    def __init__(self, nid: int, start: int, end: int, buddy: Buddy) -> None:
        self.nid = nid
        self.start = start
        self.end = end
        self.memblock = Memblock(start, end)
        self.buddy = buddy
        self.managed_pages = 0
        """Frames the buddy allocator answers for; MemTotal of the node."""


class Memory:
    """All frames of the machine, by node."""

    def __init__(
        self, nodes: int, frames_per_node: int, max_order: int, pageblock_order: int
    ) -> None:
        self.frames_per_node = frames_per_node
        starts = range(0, nodes * frames_per_node, frames_per_node)
        self.nodes = tuple(
            Node(nid, start, start + frames_per_node, Buddy(max_order, pageblock_order))
            for nid, start in enumerate(starts)
        )
        self._pages: dict[int, Page] = {}
        self._held: list[tuple[int, int]] = []

    def node_of(self, pfn: int) -> Node:
        """The node that ``pfn`` is on."""
        return self.nodes[pfn // self.frames_per_node]

    def memblock_free_all(self) -> None:
        """End of boot: hand the rest of memory to the buddy allocator (mm/memblock.c)."""
        for node in self.nodes:
            for start, end in node.memblock.free_all():
                node.buddy.free_run(start, end)
            node.managed_pages = node.buddy.nr_free

    def pfn_to_page(self, pfn: int) -> Page:
        """The struct page of ``pfn``."""
        page = self._pages.get(pfn)
        if page is None:
            node = self.node_of(pfn)
            page = self._pages[pfn] = Page(pfn, node.nid, node.memblock.magic(pfn))
        return page

    def reserved_frames(self) -> set[int]:
        """Frames with PG_reserved: they came from memblock and were never freed."""
        frames = {pfn for node in self.nodes for pfn in node.memblock.frames()}
        return frames.difference(pfn for pfn, page in self._pages.items() if not page.reserved)

    def alloc_pages(self, nid: int, order: int) -> int | None:
        """Take 2^order frames of node ``nid`` and return the first; None if there are none."""
        return self.nodes[nid].buddy.alloc(order)

    def free_pages(self, pfn: int, order: int) -> None:
        """Give back 2^order frames that ``alloc_pages`` handed out."""
        self.node_of(pfn).buddy.free(pfn, order)

    def release(self, page: Page) -> None:
        """Put a frame whose last reference is gone into the buddy allocator."""
        node = self.nodes[page.nid]
        node.buddy.free(page.pfn, 0)
        # A frame from memblock must not look as it did at boot when it is seen again.
        if page.pfn < node.memblock.low:
            del self._pages[page.pfn]

    def hold(self, nid: int, leave: int) -> int:
        """Let something else take all free frames of node ``nid`` but ``leave``.

        What is left lies together as far as it can. Returns how many it took. Raises
        ``ValueError`` when fewer than ``leave`` are free.
        """
        buddy = self.nodes[nid].buddy
        taken = buddy.nr_free - leave
        if taken < 0:
            raise ValueError(f"node {nid} has {buddy.nr_free} free frames, not {leave}")
        for start, end in buddy.take_all():
            kept = start + min(leave, end - start)
            buddy.free_run(start, kept)
            leave -= kept - start
            if kept < end:
                self._held.append((kept, end))
        return taken

    def scatter(self, nid: int, order: int) -> None:
        """Let something else take every other block of 2^``order`` free frames of node ``nid``.

        So no larger block is left, although half of the memory is free.
        """
        block = 1 << order
        buddy = self.nodes[nid].buddy
        for start, end in buddy.take_all():
            at = start
            while at < end:
                stop = min(end, (at // block + 1) * block)
                if at // block % 2:
                    self._held.append((at, stop))
                else:
                    buddy.free_run(at, stop)
                at = stop

    def unhold(self) -> None:
        """Give back everything that ``hold`` and ``scatter`` took."""
        for start, end in self._held:
            self.node_of(start).buddy.free_run(start, end)
        self._held.clear()

    @property
    def held_frames(self) -> int:
        """Frames that ``hold`` and ``scatter`` took."""
        return sum(end - start for start, end in self._held)


def alloc_pages_node(memory: Memory, nid: int, *, this_node: bool) -> Page | None:
    """Allocate one frame, on ``nid`` if it has one (mm/page_alloc.c); None if there is none.

    ``this_node`` is __GFP_THISNODE: no other node will do.
    """
    nodes = memory.nodes
    for distance in range(1 if this_node else len(nodes)):
        pfn = nodes[(nid + distance) % len(nodes)].buddy.alloc(0)
        if pfn is not None:
            page = memory.pfn_to_page(pfn)
            page.refcount = 1
            return page
    return None


def free_bootmem_page(memory: Memory, page: Page) -> None:
    """Free a frame that memblock allocated (include/linux/bootmem_info.h).

    Raises ``KernelBug`` when ``page`` is no such frame.
    """
    magic = page.freelist
    vm_bug_on_page(page.refcount != 2, "page_ref_count(page) != 2")
    if magic in (SECTION_INFO, MIX_SECTION_INFO):
        put_page_bootmem(memory, page)
    else:
        vm_bug_on_page(True, "1")


def put_page_bootmem(memory: Memory, page: Page) -> None:
    """Drop the reference that get_page_bootmem took (mm/bootmem_info.c)."""
    page.refcount -= 1
    if page.refcount == 1:
        page.freelist = 0
        free_reserved_page(memory, page)


def free_reserved_page(memory: Memory, page: Page) -> None:
    """Hand a boot frame to the buddy allocator, which makes MemTotal rise (mm/page_alloc.c)."""
    page.reserved = False
    page.refcount = 1
    __free_page(memory, page)
    memory.nodes[page.nid].managed_pages += 1


def __free_page(memory: Memory, page: Page) -> None:
    """Drop the last reference to a frame of the buddy allocator (mm/page_alloc.c).

    Raises ``KernelBug`` on a frame that is free already.
    """
    vm_bug_on_page(page.refcount == 0, "page_ref_count(page) == 0")
    page.refcount -= 1
    if page.refcount == 0:
        memory.release(page)
