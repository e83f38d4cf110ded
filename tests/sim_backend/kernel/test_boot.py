# SPDX-License-Identifier: Apache-2.0
"""Huge pages of the command line: optimised before any probe, or never given struct pages."""

import pytest

from probes.events import Kind
from probes.geometry import GIB, KIB, MIB, Geometry
from sim_backend.kernel.generation import GENERATIONS, HeadFrame
from tests.sim_backend.harness import ALL, OPTIMIZING, Traced, big, since

PRE_HVO = [name for name, g in GENERATIONS.items() if g.pre_hvo]


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize(("size", "pages"), [(2 * MIB, 23), (GIB, 3)])
def test_pages_of_the_command_line_are_in_the_pool_unseen(
    generation: str, size: int, pages: int
) -> None:
    traced = big(generation, nodes=2, hugepages={size: pages})
    assert traced.events == []
    pools = {(p.node, p.state): p.pages for p in traced.kernel.pools().by_node if p.size == size}
    # In parts of 5, 5, 5, 5 and 3, each from node 0 on (tests/data/traces/debian-6.12-113-rare).
    in_parts = size == 2 * MIB and generation in ("6.11", "6.12.114")
    nodes = [14, 9] if in_parts else [(pages + 1) // 2, pages // 2]
    assert [pools[0, "total"], pools[1, "total"]] == nodes
    assert [pools[0, "free"], pools[1, "free"]] == nodes
    traced.kernel.check_conservation()


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_the_first_page_of_run_time_is_of_the_node_whose_turn_it_is(generation: str) -> None:
    """Seen on 6.1, 6.12.113, 6.16.12 and 7.3.4: their golden traces of kind `rare`."""
    traced = big(generation, nodes=2, hugepages={2 * MIB: 23}).run("grow 2MB 1")
    goes_on = generation in ALL[: ALL.index("6.11")]
    assert [event.node for event in traced.of(Kind.OPTIMIZE_ENTER)] == [1 if goes_on else 0]


def saved(traced: Traced) -> int:
    """Bytes, by the kernel's own memmap."""
    return traced.kernel.saved_bytes(traced.kernel.memmap_pages())


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_booted_pages_save_as_much_as_grown_ones(generation: str) -> None:
    booted, grown = big(generation, hugepages={GIB: 2}), big(generation).run("grow 1GB 2")
    assert saved(booted) == saved(grown)


@pytest.mark.parametrize("generation", PRE_HVO)
def test_pre_hvo_never_allocates_4095_frames_of_a_page(generation: str) -> None:
    plain, booted = big(generation), big(generation, hugepages={GIB: 1})
    shared = int(GENERATIONS[generation].head is HeadFrame.REQUIRED)
    before, after = plain.kernel.accounts(), booted.kernel.accounts()
    assert before.nr_memmap_boot_pages - after.nr_memmap_boot_pages == 4095
    assert after.nr_memmap_pages == 0
    assert after.vmemmap_tails == shared
    # They were never memblock's, so that they are managed from the start; but not the tables.
    tables = after.page_tables - before.page_tables
    assert (tables, after.mem_total - before.mem_total) == (8, 4095 - 8 - shared)


@pytest.mark.parametrize("generation", [n for n in OPTIMIZING if n not in PRE_HVO])
def test_before_615_the_frames_of_booted_pages_are_freed(generation: str) -> None:
    booted = big(generation, hugepages={GIB: 1})
    head = since({"v17-enabled": 0, "6.2": 1})[generation]
    assert booted.kernel.memmap_pages()["runtime"] == head


@pytest.mark.parametrize("generation", PRE_HVO)
def test_pre_hvo_maps_tails_read_only_to_one_frame(generation: str) -> None:
    booted = big(generation, hugepages={GIB: 1})
    (page,) = booted.pages(GIB)
    head, *tails = booted.vmemmap(page, 4096)
    (tail,) = {mapping.pfn for mapping in tails}
    assert (tail == head.pfn) == (GENERATIONS[generation].head is not HeadFrame.REQUIRED)
    assert head.writable
    assert not any(mapping.writable for mapping in tails)


@pytest.mark.parametrize("generation", PRE_HVO)
def test_a_frame_for_tails_is_shared_within_a_node_only(generation: str) -> None:
    booted = big(generation, nodes=2, hugepages={GIB: 4})
    memory = booted.kernel.machine.memory
    frames: list[set[int]] = [set(), set()]
    for page in booted.pages(GIB):
        frames[page.nid] |= {mapping.pfn for mapping in booted.vmemmap(page, 4096)}
    shared = GENERATIONS[generation].head is HeadFrame.REQUIRED
    for nid, pfns in enumerate(frames):
        assert len(pfns) == (2 + 1 if shared else 2)
        assert {memory.node_of(pfn).nid for pfn in pfns} == {nid}


@pytest.mark.parametrize("generation", PRE_HVO)
def test_a_pre_hvo_page_that_is_given_back_gets_4095_frames(generation: str) -> None:
    traced = big(generation, hugepages={GIB: 2}).run("shrink 1GB 1")
    assert traced.total("hugepages_restored") == 1
    assert traced.total("ptes_restored") == traced.total("frames_allocated", "restore") == 4095
    traced.run("shrink 1GB 1", "grow 1GB 2")
    assert traced.total("hugepages_optimized") == 2
    assert traced.total("frames_freed") == 2 * 4096


@pytest.mark.parametrize("generation", PRE_HVO)
def test_with_the_switch_off_at_boot_nothing_is_left_out(generation: str) -> None:
    plain = Traced(generation, sizes=(GIB,), memory=4 * GIB)
    off = Traced(generation, sizes=(GIB,), memory=4 * GIB, hvo=False, hugepages={GIB: 1})
    assert off.kernel.accounts().memmap == plain.kernel.accounts().memmap
    assert not off.pages(GIB)[0].vmemmap_optimized


@pytest.mark.parametrize("generation", PRE_HVO)
def test_pages_smaller_than_a_section_are_not_pre_hvo(generation: str) -> None:
    """32 MB pages of 4 KB base pages are gigantic here, and no whole section of 128 MB."""
    traced = Traced(generation, sizes=(64 * KIB, 32 * MIB), hugepages={32 * MIB: 3})
    heads = 3
    assert traced.kernel.memmap_pages()["runtime"] == heads
    assert all(page.vmemmap_optimized for page in traced.pages(32 * MIB))


@pytest.mark.parametrize("generation", PRE_HVO)
def test_memory_above_a_pre_hvo_page_is_mapped(generation: str) -> None:
    booted = Traced(generation, sizes=(GIB,), memory=9 * GIB // 2, hugepages={GIB: 1})
    machine = booted.kernel.machine
    (page,) = booted.pages(GIB)
    last = machine.memory.nodes[0].end - 1
    assert last > page.pfn + GIB // 4096
    assert machine.init_mm.translate(machine.page_to_vmemmap(last)).writable
    booted.kernel.check_conservation()


def test_more_pages_than_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        big("7.3", hugepages={GIB: 4})


def test_pages_of_a_size_that_the_machine_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match=str([32 * MIB])):
        big("7.3", hugepages={32 * MIB: 1, GIB: 1})


def totals(traced: Traced) -> list[int]:
    return [p.pages for p in traced.kernel.pools().by_node if p.state == "total"]


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize("pages", [1, 2, 3, 23])
def test_pages_grow_after_boot_from_the_node_whose_turn_it_is(generation: str, pages: int) -> None:
    """From 6.9 on boot has a cursor of its own, which begins at node 0 in each part.

    Its part is nr / nodes / 2 pages, at least one (6.9: min_chunk of padata_do_multithreaded).
    """
    traced = Traced(generation, nodes=2, hugepages={2 * MIB: pages})
    in_parts = GENERATIONS[generation].parallel_boot and pages > 1
    part = max(pages // 2 // 2, 1) if in_parts else pages
    parts = [min(part, pages - start) for start in range(0, pages, part)]
    booted = [sum((size + 1) // 2 for size in parts), sum(size // 2 for size in parts)]
    assert totals(traced) == booted
    traced.run("grow 2MB 1")
    booted[0 if GENERATIONS[generation].boot_cursor else pages % 2] += 1
    assert totals(traced) == booted


@pytest.mark.parametrize("generation", PRE_HVO)
def test_the_smallest_pre_hvo_page_is_a_section(generation: str) -> None:
    """Its struct pages are those of one pmd (vmemmap_should_optimize_bootmem_page)."""
    traced = Traced(generation, sizes=(128 * MIB,), hugepages={128 * MIB: 3})
    plain = Traced(generation, sizes=(128 * MIB,))
    accounts, before = traced.kernel.accounts(), plain.kernel.accounts()
    assert before.nr_memmap_boot_pages - accounts.nr_memmap_boot_pages == 3 * 511
    assert accounts.nr_memmap_pages == 0
    assert all(page.vmemmap_optimized for page in traced.pages(128 * MIB))


@pytest.mark.parametrize("generation", PRE_HVO)
def test_struct_pages_across_page_boundaries_are_not_pre_hvo(generation: str) -> None:
    """Those of a 1 GB page fill seven whole pmds, but HVO needs a power of two."""
    geometry = Geometry(struct_page_size=56)
    plain, booted = (
        Traced(generation, sizes=(GIB,), memory=4 * GIB, geometry=geometry, hugepages=hugepages)
        for hugepages in ({}, {GIB: 1})
    )
    assert booted.kernel.accounts().memmap == plain.kernel.accounts().memmap
    assert not booted.pages(GIB)[0].vmemmap_optimized
