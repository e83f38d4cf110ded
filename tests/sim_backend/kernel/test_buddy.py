# SPDX-License-Identifier: Apache-2.0
"""The buddy allocator: blocks are aligned, never overlap, and merge again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_backend.kernel.buddy import Buddy
from sim_backend.kernel.memblock import Memblock

ORDERS = 10
PAGEBLOCK = 5


def buddy() -> Buddy:
    allocator = Buddy(max_order=ORDERS, pageblock_order=PAGEBLOCK)
    allocator.free_run(0, 3 << ORDERS)
    return allocator


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, ORDERS), st.just(-1)), max_size=60))
def test_blocks(orders: list[int]) -> None:
    """A number allocates a block of that order; -1 frees the oldest."""
    allocator = buddy()
    held: list[tuple[int, int]] = []
    for order in orders:
        if order < 0:
            if held:
                allocator.free(*held.pop(0))
            continue
        pfn = allocator.alloc(order)
        if pfn is None:
            continue
        assert pfn % (1 << order) == 0
        held.append((pfn, order))
    frames = [pfn + i for pfn, order in held for i in range(1 << order)]
    assert len(frames) == len(set(frames))
    assert allocator.nr_free == (3 << ORDERS) - len(frames)
    free = {pfn for start, end in allocator.runs() for pfn in range(start, end)}
    assert free.isdisjoint(frames)
    assert len(free) == allocator.nr_free
    for block in held:
        allocator.free(*block)
    assert allocator.runs() == [(i << ORDERS, (i + 1) << ORDERS) for i in range(3)]


def test_nothing_is_left() -> None:
    allocator = buddy()
    assert [allocator.alloc(ORDERS) for _ in range(4)] == [2048, 1024, 0, None]
    assert allocator.alloc(0) is None


def test_single_frames_come_from_the_bottom_and_large_blocks_from_the_top() -> None:
    allocator = buddy()
    assert allocator.alloc(PAGEBLOCK) == 2048
    assert allocator.alloc(0) == 0
    assert allocator.alloc(ORDERS) == 1024
    assert allocator.alloc(0) == 1


def test_of_the_large_blocks_the_smallest_goes_first() -> None:
    allocator = buddy()
    assert allocator.alloc(0) == 0
    assert [allocator.alloc(PAGEBLOCK) for _ in range(3)] == [32, 64, 96]


def test_small_holes_are_filled_before_anything_is_split() -> None:
    allocator = buddy()
    first = [allocator.alloc(0) for _ in range(8)]
    assert first == list(range(8))
    allocator.free(5, 0)
    allocator.free(2, 0)
    assert [allocator.alloc(0), allocator.alloc(0), allocator.alloc(0)] == [2, 5, 8]


def state(allocator: Buddy) -> tuple[object, ...]:
    """The free blocks, and the order in which frames are handed out from now on."""
    return allocator.nr_free, allocator.runs(), list(iter(lambda: allocator.alloc(0), None))


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(1, 700), st.just(0), st.just(-1)), max_size=30),
    st.integers(0, ORDERS),
)
def test_runs_of_frames_are_single_frames(counts: list[int], first: int) -> None:
    """A number allocates so many; 0 frees the oldest run of them, -1 the newest, backwards."""
    at_once, one_by_one = buddy(), buddy()
    for allocator in (at_once, one_by_one):
        allocator.alloc(first)
    held: list[range] = []
    for count in counts:
        if count > 0:
            runs = list(at_once.alloc_frames(count))
            frames = [pfn for run in runs for pfn in run]
            single = [one_by_one.alloc(0) for _ in range(count)]
            assert frames == [pfn for pfn in single if pfn is not None]
            held += runs
        elif held:
            run = held.pop(count)[:: -1 if count else 1]
            at_once.free_frames(run)
            for pfn in run:
                one_by_one.free(pfn, 0)
    assert state(at_once) == state(one_by_one)


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize(("start", "end"), [(3, 13), (1, 32), (0, 64), (31, 1025)])
def test_a_run_freed_up_or_down(start: int, end: int, step: int) -> None:
    """Of two blocks of a size, the one that was complete last is taken first."""
    at_once, one_by_one = buddy(), buddy()
    for allocator in (at_once, one_by_one):
        while allocator.alloc(0) is not None:
            pass
    run = range(start, end)[::step]
    at_once.free_frames(run)
    for pfn in run:
        one_by_one.free(pfn, 0)
    assert state(at_once) == state(one_by_one)


def test_memblock_hands_out_from_the_top() -> None:
    memblock = Memblock(100, 200)
    assert memblock.alloc(10, 1, magic=12) == 190
    assert memblock.alloc(16, 16, magic=13) == 160
    assert list(memblock.free_all()) == [(100, 160), (176, 190)]
    assert list(memblock.reserved()) == [(160, 176, 13), (190, 200, 12)]
