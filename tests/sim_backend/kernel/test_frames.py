# SPDX-License-Identifier: Apache-2.0
"""Frames go back where they came from: memblock's and the buddy allocator's told apart."""

import pytest

from sim_backend.kernel.durations import FREE_FRAME
from sim_backend.kernel.errors import KernelBug
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import (
    BOOT,
    FREE,
    IN_USE,
    MIX_SECTION_INFO,
    SECTION_INFO,
    free_bootmem_page,
)
from sim_backend.kernel.vmemmap_frames import free_vmemmap_page_list
from tests.sim_backend.harness import LISTS, Traced


def test_frames_of_vmemmap_are_memblocks_at_boot() -> None:
    traced = Traced()
    machine = traced.kernel.machine
    page = machine.memory.pfn_to_page(
        traced.kernel.machine.init_mm.translate(machine.page_to_vmemmap(0)).pfn
    )
    assert (page.reserved, page.refcount, page.freelist) == (True, 2, SECTION_INFO)
    table = machine.memory.pfn_to_page(next(iter(machine.init_mm.table_frames())))
    assert (table.reserved, table.refcount, table.freelist) == (True, 2, MIX_SECTION_INFO)
    ordinary = machine.memory.pfn_to_page(0)
    assert (ordinary.reserved, ordinary.refcount, ordinary.freelist) == (False, 0, 0)


def test_memblock_frames_make_memtotal_rise() -> None:
    traced = Traced("v17-enabled")
    before = traced.kernel.accounts()
    traced.run("grow 2MB 23")
    after = traced.kernel.accounts()
    assert after.mem_total - before.mem_total == 138
    assert before.nr_memmap_boot_pages - after.nr_memmap_boot_pages == 138
    assert after.nr_memmap_pages == 0


def test_restored_frames_are_the_buddy_allocators_for_good() -> None:
    traced = Traced("v17-enabled").run("grow 2MB 23", "shrink 2MB 23")
    once = traced.kernel.accounts()
    assert once.nr_memmap_pages == 138
    traced.run("grow 2MB 23")
    again = traced.kernel.accounts()
    assert again.mem_total == once.mem_total
    assert again.nr_memmap_boot_pages == once.nr_memmap_boot_pages
    assert again.nr_memmap_pages == 0


def test_a_freed_memblock_frame_does_not_look_like_one_any_more() -> None:
    traced = Traced("v17-enabled").run("grow 2MB 1")
    fresh = Traced("v17-enabled")
    (head,) = traced.pages()
    pfn = fresh.vmemmap(head)[2].pfn
    page = traced.kernel.machine.memory.pfn_to_page(pfn)
    assert (page.reserved, page.refcount, page.freelist) == (False, 0, 0)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_run_of_both_allocators_frames_goes_back_to_each(one_by_one: bool) -> None:
    """Five frames of memblock beside seven of the buddy allocator, on one list."""
    traced = Traced("v17-enabled")
    machine = traced.kernel.machine
    machine.one_by_one = one_by_one
    first = machine.init_mm.translate(machine.page_to_vmemmap(0)).pfn
    run = range(first, first + 12)
    machine.memory.set_state(run[5:], IN_USE)
    machine.nr_memmap_boot_pages, machine.nr_memmap_pages = 100, 30
    managed, free = traced.kernel.accounts().mem_total, traced.free_frames()
    before = machine.clock.now_ns
    pages = FrameList()
    pages.add_tail(run)
    free_vmemmap_page_list(machine, pages)
    assert not pages
    assert (machine.nr_memmap_boot_pages, machine.nr_memmap_pages) == (95, 23)
    assert traced.kernel.accounts().mem_total == managed + 5
    assert traced.free_frames() == free + 12
    assert all(traced.is_free(pfn) for pfn in run)
    assert machine.clock.now_ns - before == 12 * machine.clock.each_ns(FREE_FRAME)


@pytest.mark.parametrize("generation", ["6.2", *LISTS])
def test_a_new_head_counts_as_runtime_memmap(generation: str) -> None:
    traced = Traced(generation)
    before = traced.kernel.memmap_pages()
    traced.run("grow 2MB 23")
    after = traced.kernel.memmap_pages()
    assert before["boot"] - after["boot"] == 184
    assert (before["runtime"], after["runtime"]) == (0, 23)


def test_page_tables_are_no_memmap() -> None:
    traced = Traced("v17-enabled")
    machine = traced.kernel.machine
    table = machine.memory.pfn_to_page(next(iter(machine.init_mm.table_frames())))
    free_bootmem_page(machine.memory, table)
    assert not table.reserved
    assert traced.is_free(table.pfn)
    with pytest.raises(KernelBug, match="page_ref_count"):
        free_bootmem_page(machine.memory, table)


def test_frames_of_two_nodes_are_not_alike() -> None:
    memory = Traced(nodes=2).kernel.machine.memory
    border = memory.frames_per_node
    assert memory.common_state(range(border, border + 100)) == FREE
    memory.set_state(range(border - 5, border + 5), IN_USE)
    assert memory.common_state(range(border - 5, border)) == IN_USE
    assert memory.common_state(range(border, border + 5)) == IN_USE
    assert memory.common_state(range(border - 1, border + 1)) is None


def test_frames_of_two_kinds_are_not_alike() -> None:
    traced = Traced("v17-enabled")
    memory = traced.kernel.machine.memory
    first = traced.kernel.machine.init_mm.translate(0xFFFFEA0000000000).pfn
    run = range(first, first + 4096)
    assert memory.common_state(run) == memory.common_state(run[::-1]) == BOOT
    assert memory.nr_reserved(run) == 4096
    memory.set_state(run[5:7], IN_USE)
    assert memory.common_state(run) is None
    assert memory.common_state(run[6:4:-1]) == IN_USE
    assert memory.nr_reserved(run) == 4094
