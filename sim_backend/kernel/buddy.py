# SPDX-License-Identifier: Apache-2.0
"""The buddy allocator (mm/page_alloc.c) of one node."""

from bisect import bisect_left, insort
from collections.abc import Iterator


class Buddy:
    """Free blocks of 2^order frames.

    ``max_order`` reaches up to the largest huge page. So one allocator stands in for
    alloc_contig_pages as well, which finds such a run in a real kernel by migrating pages.
    A real one also keeps what can't be moved together, by pageblocks of 2^``pageblock_order``
    frames. Here huge pages come from the top of memory and single frames from the bottom.
    """

    def __init__(self, max_order: int, pageblock_order: int) -> None:
        self._max_order = max_order
        self._pageblock_order = pageblock_order
        # Dictionaries used as ordered sets: what was freed last is taken first, always the same.
        self._small: list[dict[int, None]] = [{} for _ in range(pageblock_order)]
        # In ascending order: what lies lowest or highest is taken.
        self._large: list[list[int]] = [[] for _ in range(max_order + 1)]
        self.nr_free = 0
        """Free frames."""

    def free(self, pfn: int, order: int) -> None:
        """Give back the block at ``pfn`` and merge it with its buddies (__free_one_page)."""
        self.nr_free += 1 << order
        while order < self._max_order and self._remove(pfn ^ (1 << order), order):
            pfn &= ~(1 << order)
            order += 1
        self._insert(pfn, order)

    def alloc(self, order: int) -> int | None:
        """Take a block, split off a larger one if need be (__rmqueue); None if there is none."""
        taken = self._take(order)
        if taken is None:
            return None
        pfn, found = taken
        for half in range(found - 1, order - 1, -1):
            self._insert(pfn + (1 << half), half)
        self.nr_free -= 1 << order
        return pfn

    def _insert(self, pfn: int, order: int) -> None:
        if order < self._pageblock_order:
            self._small[order][pfn] = None
        else:
            insort(self._large[order], pfn)

    def _remove(self, pfn: int, order: int) -> bool:
        """Take the free block at ``pfn`` off its list; whether there was one."""
        if order < self._pageblock_order:
            found = pfn in self._small[order]
            if found:
                del self._small[order][pfn]
            return found
        blocks = self._large[order]
        at = bisect_left(blocks, pfn)
        found = at < len(blocks) and blocks[at] == pfn
        if found:
            del blocks[at]
        return found

    def _take(self, order: int) -> tuple[int, int] | None:
        """Take the block to allocate from off its list: its frame and order."""
        for found in range(order, self._pageblock_order):
            if self._small[found]:
                return self._small[found].popitem()[0], found
        large = range(max(order, self._pageblock_order), self._max_order + 1)
        found_in = [found for found in large if self._large[found]]
        if not found_in:
            return None
        if order < self._pageblock_order:
            lowest = min(found_in, key=lambda found: self._large[found][0])
            return self._large[lowest].pop(0), lowest
        return self._large[found_in[0]].pop(), found_in[0]

    def free_run(self, start: int, end: int) -> None:
        """Give back the run [start, end) in blocks as large as alignment allows."""
        for pfn, order in self._blocks(start, end):
            self.free(pfn, order)

    def free_frames(self, frames: range) -> None:
        """Give back each of a run of frames, up or down, as single frames one after the other.

        Freed whole, the blocks that such a run is made of end up the same: a block is there once
        the last of its frames is, and no part of it has a buddy outside.
        """
        blocks = list(self._blocks(min(frames[0], frames[-1]), max(frames[0], frames[-1]) + 1))
        for pfn, order in blocks if frames.step > 0 else reversed(blocks):
            self.free(pfn, order)

    def alloc_frames(self, count: int) -> Iterator[range]:
        """Take ``count`` single frames one after the other, as runs; fewer when memory ends.

        A block is used up from its first frame on before another one is touched, as the halves
        that are split off a block are the smallest ones there are.
        """
        while count and (taken := self._take(0)):
            pfn, order = taken
            self.nr_free -= 1 << order
            run = range(pfn, pfn + min(count, 1 << order))
            self.free_run(run.stop, pfn + (1 << order))
            count -= len(run)
            yield run

    def _blocks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The largest aligned blocks that make up [start, end): first frame and order."""
        while start < end:
            aligned = (start & -start).bit_length() - 1 if start else self._max_order
            order = min(aligned, (end - start).bit_length() - 1, self._max_order)
            yield start, order
            start += 1 << order

    def take_all(self) -> list[tuple[int, int]]:
        """Take everything, as runs [start, end), the largest first."""
        runs = sorted(self.runs(), key=lambda run: run[0] - run[1])
        for small in self._small:
            small.clear()
        for large in self._large:
            large.clear()
        self.nr_free = 0
        return runs

    def runs(self) -> list[tuple[int, int]]:
        """Free blocks as runs [start, end), in ascending order."""
        lists = (*enumerate(self._small), *enumerate(self._large))
        return sorted((pfn, pfn + (1 << order)) for order, blocks in lists for pfn in blocks)
