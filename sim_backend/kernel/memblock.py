# SPDX-License-Identifier: Apache-2.0
"""The boot allocator (mm/memblock.c) of one node."""

from collections.abc import Iterator
from typing import NamedTuple


class Reserved(NamedTuple):
    """A run of frames [start, end) that memblock handed out at boot, and its bootmem magic."""

    start: int
    end: int
    magic: int


class Memblock:
    """Frames [start, end), handed out from the top down."""

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
        start = self.take(frames, align)
        last = self._reserved[-1] if self._reserved else None
        if last is not None and last.start == start + frames and last.magic == magic:
            self._reserved[-1] = last._replace(start=start)
        else:
            self._reserved.append(Reserved(start, start + frames, magic))
        return start

    def take(self, frames: int, align: int) -> int:
        """Take frames as ``alloc`` does, for good: they never come back to memblock."""
        start = (self.low - frames) // align * align
        if start < self.start:
            raise ValueError(f"memory of a node does not fit: {frames} frames are missing")
        if start + frames < self.low:
            self._holes.append((start + frames, self.low))
        self.low = start
        return start

    def free_all(self) -> Iterator[tuple[int, int]]:
        """Yield the runs [start, end) left for the buddy allocator, and close for business."""
        self._reserved.reverse()
        yield self.start, self.low
        yield from self._holes

    def reserved(self) -> Iterator[Reserved]:
        """What it handed out."""
        return iter(self._reserved)
