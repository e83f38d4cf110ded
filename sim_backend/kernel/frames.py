# SPDX-License-Identifier: Apache-2.0
"""Page frames, and which allocator each of them is freed to.

A frame is a page frame number (pfn). Its ``struct page`` is a byte here, made when something
first looks at it, so that a machine of a terabyte stays small.
"""

from collections.abc import Iterator

from sim_backend.kernel.buddy import Buddy
from sim_backend.kernel.errors import vm_bug_on_page
from sim_backend.kernel.fail_page_alloc import FailPageAlloc
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.memblock import Memblock

SECTION_INFO = 12
"""page->freelist of a memblock frame that holds struct pages (include/linux/bootmem_info.h)."""
MIX_SECTION_INFO = 13
"""The same for a memblock frame that holds page tables."""

_MAGIC_SHIFT = 4
_REFCOUNT = (1 << _MAGIC_SHIFT) - 1
FREE = 0
"""The byte of a frame without a reference: the buddy allocator has it."""
IN_USE = 1
"""The byte of a frame that the buddy allocator handed out."""
BOOT = SECTION_INFO << _MAGIC_SHIFT | 2
"""The byte of a frame of boot-time vmemmap: memblock's own reference and get_page_bootmem's."""

_RESERVED = bytes(state >> _MAGIC_SHIFT != 0 for state in range(256))
"""For each byte whether it means PG_reserved."""

_SECTION_SHIFT = 15
_SECTION_FRAMES = 1 << _SECTION_SHIFT


class Page:
    """``struct page`` of one frame: the fields that HVO reads or writes."""

    __slots__ = ("_at", "_section", "nid", "pfn")

    def __init__(self, pfn: int, nid: int, section: bytearray, at: int) -> None:
        """The fields are in the byte ``at`` of ``section``."""
        self.pfn = pfn
        self.nid = nid
        self._section = section
        self._at = at

    @property
    def refcount(self) -> int:
        """page_ref_count; 0 while free."""
        return self._section[self._at] & _REFCOUNT

    @refcount.setter
    def refcount(self, count: int) -> None:
        self._section[self._at] = self.freelist << _MAGIC_SHIFT | count

    @property
    def freelist(self) -> int:
        """The bootmem magic of a frame that came from memblock, else 0."""
        return self._section[self._at] >> _MAGIC_SHIFT

    @freelist.setter
    def freelist(self, magic: int) -> None:
        self._section[self._at] = magic << _MAGIC_SHIFT | self.refcount

    @property
    def reserved(self) -> bool:
        """PG_reserved: the frame came from memblock. Set and cleared with the magic."""
        return self.freelist != 0


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
        self._sections: dict[int, bytearray] = {}
        self._held: list[tuple[int, int]] = []
        self.fail_page_alloc = FailPageAlloc()

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
        section = self._section(pfn >> _SECTION_SHIFT)
        return Page(pfn, pfn // self.frames_per_node, section, pfn & _SECTION_FRAMES - 1)

    def common_state(self, frames: range) -> int | None:
        """The byte that all of a run of frames have; None if they differ or are on two nodes."""
        low, high = min(frames[0], frames[-1]), max(frames[0], frames[-1])
        if low // self.frames_per_node != high // self.frames_per_node:
            return None
        state: int | None = None
        for section, part in self._parts(low, high + 1):
            state = section[part.start] if state is None else state
            if section.count(state, part.start, part.stop) != part.stop - part.start:
                return None
        return state

    def set_state(self, frames: range, state: int) -> None:
        """Give each of a run of frames the byte ``state``."""
        low, high = min(frames[0], frames[-1]), max(frames[0], frames[-1])
        for section, part in self._parts(low, high + 1):
            section[part] = bytes((state,)) * (part.stop - part.start)

    def nr_reserved(self, frames: range) -> int:
        """How many of a run of frames have PG_reserved: memblock's, never freed since."""
        parts = self._parts(frames.start, frames.stop)
        return sum(section[part].translate(_RESERVED).count(1) for section, part in parts)

    def _section(self, number: int) -> bytearray:
        """The struct pages of 2^15 frames, one byte each."""
        section = self._sections.get(number)
        if section is None:
            section = self._sections[number] = bytearray(_SECTION_FRAMES)
            start = number << _SECTION_SHIFT
            for run in (run for node in self.nodes for run in node.memblock.reserved()):
                first, end = max(run.start - start, 0), min(run.end - start, _SECTION_FRAMES)
                if first < end:
                    section[first:end] = bytes((run.magic << _MAGIC_SHIFT | 2,)) * (end - first)
        return section

    def _parts(self, start: int, end: int) -> Iterator[tuple[bytearray, slice]]:
        """The frames [start, end), section by section."""
        while start < end:
            at = start & _SECTION_FRAMES - 1
            stop = min(at + end - start, _SECTION_FRAMES)
            yield self._section(start >> _SECTION_SHIFT), slice(at, stop)
            start += stop - at

    def alloc_pages(self, nid: int, order: int) -> int | None:
        """Take 2^order frames of node ``nid`` and return the first; None if there are none."""
        return self.nodes[nid].buddy.alloc(order)

    def free_pages(self, pfn: int, order: int) -> None:
        """Give back 2^order frames that ``alloc_pages`` handed out."""
        self.node_of(pfn).buddy.free(pfn, order)

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
    if memory.fail_page_alloc.should_fail():
        return None
    nodes = memory.nodes
    for distance in range(1 if this_node else len(nodes)):
        pfn = nodes[(nid + distance) % len(nodes)].buddy.alloc(0)
        if pfn is not None:
            page = memory.pfn_to_page(pfn)
            page.refcount = 1
            return page
    return None


def alloc_pages_bulk_node(memory: Memory, nid: int, count: int, *, this_node: bool) -> FrameList:
    """Allocate ``count`` frames as ``alloc_pages_node`` does one; fewer when memory ends.

    Not while one of them is to fail.
    """
    frames = FrameList()
    nodes = memory.nodes
    for distance in range(1 if this_node else len(nodes)):
        for run in nodes[(nid + distance) % len(nodes)].buddy.alloc_frames(count):
            memory.set_state(run, IN_USE)
            frames.add_tail(run)
            count -= len(run)
    return frames


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
        memory.free_pages(page.pfn, 0)


def free_alike(memory: Memory, frames: range, state: int) -> None:
    """Free a run of frames of one node that all have the byte ``state``: BOOT or IN_USE.

    The same as ``free_bootmem_page`` or ``__free_page`` for each in turn.
    """
    memory.set_state(frames, FREE)
    node = memory.node_of(frames[0])
    node.buddy.free_frames(frames)
    if state == BOOT:
        node.managed_pages += len(frames)
