# SPDX-License-Identifier: Apache-2.0
"""Count the huge pages of every pool, and those of them whose vmemmap is optimized.

The lists are read without their lock (hugetlb_lock), so what was read is held against the pool's
own count on every node, before and after. What does not add up is read again, and after a few
times is an error: a census is exact or absent.
"""

import os
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import NamedTuple, Protocol

from probes.census.facts import CensusError, CensusFacts, UnsettledError
from probes.census.kernel_memory import KernelFaultError, KernelMemory
from probes.counters import PageKey

_TRIES = 10
_NODE_BITS_OF_FLAGS = 64
"""page->flags ends with the node, as no section stands there (CONFIG_SPARSEMEM_VMEMMAP)."""


class NodeCensus(NamedTuple):
    """The huge pages of one size on one node."""

    node: int
    pages: int
    """All of them, in use or free, surplus included."""
    optimized: int


class PoolCensus(NamedTuple):
    """The huge pages of one size."""

    order: int
    """Page order of the size."""
    net_frames: int | None
    """Frames that an optimized page saves, net; None if the kernel does not say."""
    nodes: tuple[NodeCensus, ...]
    """Nodes that have pages, in order."""


def saved_frames(census: Sequence[PoolCensus]) -> int | None:
    """Frames that all optimized pages save, net; None if the kernel does not say."""
    saved = 0
    for pool in census:
        optimized = sum(row.optimized for row in pool.nodes)
        if optimized and pool.net_frames is None:
            return None
        saved += optimized * (pool.net_frames or 0)
    return saved


def optimized_pages(census: Sequence[PoolCensus]) -> dict[PageKey, int]:
    """Optimized pages of each size and node that has pages."""
    return {PageKey(pool.order, row.node): row.optimized for pool in census for row in pool.nodes}


def frames_each(census: Sequence[PoolCensus]) -> dict[int, int]:
    """What an optimized page saves, by page order, where the kernel says so."""
    return {pool.order: pool.net_frames for pool in census if pool.net_frames is not None}


class Memory(Protocol):
    """What is asked of ``KernelMemory``."""

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes."""

    def walk(self, head: int) -> Iterator[bytes]:
        """Read a list's elements."""


class _ChangedError(Exception):
    """The pool changed while it was read; the message says how."""


def take_census(facts: CensusFacts, page_size: int) -> list[PoolCensus]:
    """Take it now, by size. Raises ``CensusError``."""
    try:
        with closing(KernelMemory(facts.page_bytes, facts.link)) as memory:
            return count_pools(memory, facts, page_size)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise CensusError(
            f"kernel memory can't be read ({reason}): it takes root, or CAP_BPF and CAP_PERFMON, "
            "and no lockdown of confidentiality"
        ) from error


def count_pools(memory: Memory, facts: CensusFacts, page_size: int) -> list[PoolCensus]:
    """The census of what ``memory`` holds. Raises ``UnsettledError`` and ``OSError``."""
    changed = ""
    for _ in range(_TRIES):
        try:
            (count,) = struct.unpack("=i", memory.read(facts.number_of_pools, 4))
            pools = [_Pool(memory, facts, number, page_size) for number in range(count)]
            _check_nothing_waits(memory, facts)
            return sorted(pool.count() for pool in pools)
        except (_ChangedError, KernelFaultError) as error:
            changed = str(error)
    raise UnsettledError(f"the pools changed each of {_TRIES} times that they were read: {changed}")


def _check_nothing_waits(memory: Memory, facts: CensusFacts) -> None:
    """A surplus page is off its list before the kworker restores it. Raises ``_ChangedError``."""
    if facts.pages_to_free is not None and any(memory.read(facts.pages_to_free, 8)):
        raise _ChangedError("surplus pages wait to be freed")


class _Pool:
    def __init__(self, memory: Memory, facts: CensusFacts, number: int, page_size: int) -> None:
        self._memory = memory
        self._facts = facts
        self._address = facts.pools + number * facts.hstate_bytes
        self._hstate = memory.read(self._address, facts.hstate_bytes)
        self._page_size = page_size
        self._order = self._number(facts.order)

    def count(self) -> PoolCensus:
        """Count the pages of each node. Raises ``_ChangedError``."""
        expected = self._pages_by_node(self._hstate)
        pages, optimized = Counter[int](), Counter[int]()
        most = expected.total()
        for head in self._lists(expected):
            for flags, private in self._elements(head):
                node = self._node(flags)
                pages[node] += 1
                optimized[node] += private >> self._facts.optimized_bit & 1
                if pages.total() > most:
                    raise _ChangedError(f"more than {most} pages of order {self._order}")
        hstate = self._memory.read(self._address, self._facts.hstate_bytes)
        if self._is_resized(self._hstate) or self._is_resized(hstate):
            raise _ChangedError(f"the pool of order {self._order} is being resized")
        after = self._pages_by_node(hstate)
        if not pages == expected == after:
            raise _ChangedError(
                f"{pages.total()} pages of order {self._order} on lists, {after.total()} counted"
            )
        nodes = (NodeCensus(node, pages[node], optimized[node]) for node in sorted(pages))
        return PoolCensus(self._order, self._net_frames(), tuple(nodes))

    def _is_resized(self, hstate: bytes) -> bool:
        """Then pages are optimized that are on no list yet, or restored off their list."""
        lock = self._facts.resize_lock
        return lock is not None and any(hstate[lock : lock + 8])

    def _number(self, offset: int) -> int:
        return int(struct.unpack_from("=I", self._hstate, offset)[0])

    def _pages_by_node(self, hstate: bytes) -> Counter[int]:
        facts = self._facts
        counts = struct.unpack_from(f"={facts.max_nodes}I", hstate, facts.nr_huge_pages_node)
        return Counter({node: count for node, count in enumerate(counts) if count})

    def _lists(self, nodes: Counter[int]) -> Iterator[int]:
        """Pages in use, and the free ones of each node (16 bytes a list_head)."""
        yield self._address + self._facts.active_list
        for node in nodes:
            yield self._address + self._facts.free_lists + node * 16

    def _elements(self, head: int) -> Iterator[tuple[int, int]]:
        """Flags and private of each page of a list."""
        words = -(-self._facts.page_bytes // 8)
        for block in self._memory.walk(head):
            with memoryview(block).cast("Q") as view:
                flags = islice(view, self._facts.flags // 8, None, words)
                private = islice(view, self._facts.private // 8, None, words)
                yield from zip(flags, private, strict=True)

    def _node(self, flags: int) -> int:
        bits = (self._facts.max_nodes - 1).bit_length()
        return flags >> (_NODE_BITS_OF_FLAGS - bits) if bits else 0

    def _net_frames(self) -> int | None:
        """By the kernel's own member (to Linux 5.19); else all vmemmap pages but one."""
        if self._facts.net_frames is not None:
            return self._number(self._facts.net_frames)
        if not self._facts.reserved_page:
            return None
        size = self._facts.page_bytes
        frames = (size << self._order) // self._page_size
        return frames - 1 if size & (size - 1) == 0 and frames > 1 else 0
