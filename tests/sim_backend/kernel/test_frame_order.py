# SPDX-License-Identifier: Apache-2.0
"""The order of frames on the lists: list_add or list_add_tail, by generation.

v17 has list_add in vmemmap_remap_pte; 5.14 to 6.6 have list_add_tail there and in
alloc_vmemmap_page_list; 6.7 and later have list_add in both.
"""

from collections.abc import Callable
from errno import ENOMEM

import pytest

from probes.geometry import GIB
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.generation import GENERATIONS, HeadFrame, PoolInterface
from sim_backend.kernel.hugetlb_vmemmap import free_huge_page_vmemmap
from sim_backend.kernel.hugetlb_vmemmap_folios import hugetlb_vmemmap_optimize_folio
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.vmemmap_frames import alloc_vmemmap_page_list
from tests.sim_backend.harness import ALL, OPTIMIZING, Traced, since

DONE = 3 * 512
"""PTEs of the three tables that there is memory for, of the eight that a 1 GB page has."""


def optimize_until_memory_ends(generation: str) -> tuple[list[int], list[int]]:
    """Frames of the first three tables of a 1 GB page before and after the rollback."""
    traced = Traced(generation, sizes=(GIB,), memory=4 * GIB, hvo=False)
    traced.run("grow 1GB 1", "hvo on")
    (page,) = traced.pages(GIB)
    before = [mapping.pfn for mapping in traced.vmemmap(page, 4096)]
    generation_ = GENERATIONS[generation]
    head = int(generation_.head is not HeadFrame.KEPT)
    tail = int(generation_.head is HeadFrame.REQUIRED)
    traced.kernel.hold_memory(0, leave=3 + head + tail)
    machine = traced.kernel.machine
    optimize: Callable[..., None] = free_huge_page_vmemmap
    if generation_.interface is PoolInterface.FOLIO_LISTS:
        optimize = hugetlb_vmemmap_optimize_folio
    optimize(machine, machine.hstates[0], page)
    traced.kernel.check_conservation()
    after = [mapping.pfn for mapping in traced.vmemmap(page, 4096)]
    assert after[DONE:] == before[DONE:]
    return before[:DONE], after[:DONE]


@pytest.mark.parametrize("generation", ["5.14", "5.18", "5.19", "6.0"])
def test_a_rollback_up_to_61_gives_every_page_its_own_frame_back(generation: str) -> None:
    before, after = optimize_until_memory_ends(generation)
    assert after == before


def test_a_rollback_of_62_moves_every_frame_up_by_one() -> None:
    """First on the list is the head's old frame; what is left over is freed."""
    before, after = optimize_until_memory_ends("6.2")
    assert after[0] not in before
    assert after[1:] == before[:-1]


@pytest.mark.parametrize("generation", ["6.7", "6.8", "6.11", "6.15", "7.1", "7.3"])
def test_a_rollback_from_67_on_reverses_the_frames(generation: str) -> None:
    before, after = optimize_until_memory_ends(generation)
    assert after[0] not in before
    assert after[1:] == before[:0:-1]


@pytest.mark.parametrize("generation", ["6.12.114", "6.18.51"])
def test_a_rollback_of_6_12_114_restores_the_head_as_well(generation: str) -> None:
    """The head maps what vmemmap_tail is, so that its new frame ends on no list."""
    before, after = optimize_until_memory_ends(generation)
    assert after == before[::-1]


@pytest.mark.parametrize("generation", ["6.12.114", "6.18.51"])
def test_a_rollback_of_6_12_114_loses_a_frame(generation: str) -> None:
    traced = Traced(generation, sizes=(GIB,), memory=4 * GIB, hvo=False)
    traced.run("grow 1GB 1", "hvo on")
    traced.kernel.hold_memory(0, leave=4)
    memmap, free = traced.kernel.accounts().memmap, traced.free_frames()
    machine = traced.kernel.machine
    hugetlb_vmemmap_optimize_folio(machine, machine.hstates[0], traced.pages(GIB)[0])
    assert traced.kernel.accounts().memmap == memmap + 1
    assert traced.free_frames() == free - 3 - 1  # three tables stay, and a head that nothing maps
    assert len(machine.lost_heads) == 1
    assert machine.memory.pfn_to_page(machine.lost_heads[0]).refcount == 1
    traced.kernel.check_conservation()


class FreedFrames:
    """Notes the frames that the buddy allocator gets one by one."""

    def __init__(self, machine: Machine) -> None:
        machine.one_by_one = True
        self.pfns: list[int] = []
        self._free = machine.memory.free_pages
        machine.memory.free_pages = self._note  # type: ignore[method-assign]

    def _note(self, pfn: int, order: int) -> None:
        self.pfns.append(pfn)
        self._free(pfn, order)


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_frames_are_freed_in_the_order_of_their_list(generation: str) -> None:
    traced = Traced(generation)
    freed = FreedFrames(traced.kernel.machine)
    traced.run("grow 2MB 1")
    up = freed.pfns == sorted(freed.pfns)
    down = freed.pfns == sorted(freed.pfns, reverse=True)
    expected = since({"v17-enabled": "down", "5.14": "up", "6.7": "down"})[generation]
    assert (up, down) == (expected == "up", expected == "down")


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("generation", ALL)
def test_frames_are_mapped_in_the_order_of_their_list(generation: str, one_by_one: bool) -> None:
    traced, twin = (Traced(generation, memory=128 << 20).kernel.machine for _ in range(2))
    traced.one_by_one = one_by_one
    allocated = [twin.memory.alloc_pages(0, 0) for _ in range(7)]
    start, pages = traced.page_to_vmemmap(0), FrameList()
    assert alloc_vmemmap_page_list(traced, start, start + 7 * 4096, pages) == 0
    step = since({"v17": 1, "6.7": -1})[generation]
    assert list(pages) == allocated[::step]


@pytest.mark.parametrize("generation", ALL)
def test_frames_of_a_failed_allocation_are_freed_from_the_front(generation: str) -> None:
    traced, twin = (Traced(generation, memory=128 << 20) for _ in range(2))
    for each in (traced, twin):
        each.kernel.hold_memory(0, leave=5)
    allocated = [twin.kernel.machine.memory.alloc_pages(0, 0) for _ in range(5)]
    machine = traced.kernel.machine
    freed = FreedFrames(machine)
    start = machine.page_to_vmemmap(0)
    assert alloc_vmemmap_page_list(machine, start, start + 7 * 4096, FrameList()) == -ENOMEM
    assert freed.pfns == allocated[:: since({"v17": 1, "6.7": -1})[generation]]
