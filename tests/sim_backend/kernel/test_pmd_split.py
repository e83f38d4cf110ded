# SPDX-License-Identifier: Apache-2.0
"""Kernels from 5.14 on map vmemmap with huge PMDs, and split them on first touch."""

from errno import ENOMEM

import pytest

from probes.events import Kind
from probes.geometry import GIB
from sim_backend.kernel.durations import FLUSH_TLB, SPLIT_PMD
from sim_backend.kernel.hugetlb_vmemmap_folios import hugetlb_vmemmap_optimize_folio
from tests.sim_backend.harness import ALL, LISTS, CountingClock, Traced, big

SPLITTING = ALL[ALL.index("5.14") :]


def test_the_seed_has_base_pages_and_splits_nothing() -> None:
    traced = Traced("v17-enabled")
    # 1 GB of memory has 16 MB of struct pages: 8 tables of 512, and a pmd, pud and p4d... which
    # is folded into the pgd. The pgd itself is part of the kernel image.
    assert traced.kernel.accounts().page_tables == 8 + 1 + 1
    traced.run("grow 2MB 137")
    assert traced.kernel.accounts().page_tables == 10


@pytest.mark.parametrize("generation", SPLITTING)
def test_one_table_per_128_mb(generation: str) -> None:
    traced = Traced(generation)
    assert traced.kernel.accounts().page_tables == 2
    tables = []
    for pages in (1, 1, 62, 64, 64):
        traced.run(f"grow 2MB {pages}")
        tables.append(traced.kernel.accounts().page_tables - 2)
    sections = {page.pfn // 32768 for page in traced.pages()}
    assert tables[-1] == len(sections)
    assert tables[0] == tables[1] == 1
    assert 3 <= tables[-1] <= 5


@pytest.mark.parametrize("generation", SPLITTING)
def test_a_1gb_page_splits_eight(generation: str) -> None:
    traced = big(generation)
    before = traced.kernel.accounts().page_tables
    traced.run("grow 1GB 1")
    assert traced.kernel.accounts().page_tables == before + 8
    traced.run("shrink 1GB 1", "grow 1GB 1")
    assert traced.kernel.accounts().page_tables == before + 8


@pytest.mark.parametrize("generation", SPLITTING)
def test_a_table_comes_from_another_node_if_that_of_the_cpu_is_full(generation: str) -> None:
    """pte_alloc_one_kernel has no __GFP_THISNODE."""
    traced = Traced(generation, nodes=2)
    mm, memory = traced.kernel.machine.init_mm, traced.kernel.machine.memory
    booted = set(mm.table_frames())
    traced.kernel.pin(0)
    traced.kernel.hold_memory(0, leave=0)
    traced.run("grow 2MB 1")
    assert traced.total("hugepages_optimized") == 1
    (table,) = set(mm.table_frames()) - booted
    assert memory.node_of(table).nid == 1


@pytest.mark.parametrize("generation", ["5.14", "5.18", "6.0"])
def test_without_memory_for_the_table_nothing_is_done(generation: str) -> None:
    traced = Traced(generation)
    traced.kernel.hold_memory(0, leave=512)
    traced.run("grow 2MB 1")
    (leave,) = traced.of(Kind.OPTIMIZE_EXIT)
    assert (leave.ret, leave.ptes, leave.frames_freed) == (-ENOMEM, 0, 0)
    assert traced.total("optimize_failures", "ENOMEM") == 1
    assert traced.total("hugepages_optimized") == 0
    assert not traced.pages()[0].vmemmap_optimized
    assert traced.of(Kind.REMAP_PTE) == []


@pytest.mark.parametrize("generation", ["5.14", "5.18", "6.0", "6.2"])
def test_half_way_without_memory_all_is_rolled_back(generation: str) -> None:
    traced = Traced(generation, sizes=(1 * GIB,), memory=4 * GIB)
    untouched = Traced(generation, sizes=(1 * GIB,), memory=4 * GIB)
    # Enough for the page itself, a new head where there is one, and three of eight tables.
    heads = int(generation == "6.2")
    traced.kernel.hold_memory(0, leave=262_144 + heads + 3)
    traced.run("grow 1GB 1")
    (page,) = traced.pages(1 * GIB)
    reserved = {"5.14": 2, "5.18": 1, "6.0": 1, "6.2": 0}[generation]
    assert len(traced.of(Kind.REMAP_PTE)) == 3 * 512 - reserved
    assert len(traced.of(Kind.REMAP_RANGE)) == 1
    assert traced.of(Kind.RESTORE_PTE) == []
    (leave,) = traced.of(Kind.OPTIMIZE_EXIT)
    assert (leave.ret, leave.ptes, leave.frames_freed, leave.frames_allocated) == (-ENOMEM, 0, 0, 0)
    assert not page.vmemmap_optimized
    now, before = traced.vmemmap(page, 4096), untouched.vmemmap(page, 4096)
    assert all(mapping.writable for mapping in now)
    # A copied head stays where it is; its old frame, or another, went back instead.
    kept = {m.pfn for m in now} & {m.pfn for m in before}
    assert len(kept) == 4096 - heads
    assert traced.kernel.accounts().memmap == untouched.kernel.accounts().memmap


@pytest.mark.parametrize(("generation", "tails"), [("6.7", 0), ("7.1", 1)])
def test_half_way_without_memory_a_copied_head_stays(generation: str, tails: int) -> None:
    # In a list all splitting comes first; so the page is optimised by itself, as in a fault.
    traced = Traced(generation, sizes=(1 * GIB,), memory=4 * GIB, hvo=False)
    traced.run("grow 1GB 1", "hvo on")
    (page,) = traced.pages(1 * GIB)
    before, memmap = traced.vmemmap(page, 4096), traced.kernel.accounts().memmap
    traced.kernel.hold_memory(0, leave=tails + 1 + 3)
    machine = traced.kernel.machine
    hugetlb_vmemmap_optimize_folio(machine, machine.hstates[0], page)
    assert len(traced.of(Kind.REMAP_PTE)) == 3 * 512
    assert traced.of(Kind.OPTIMIZE_EXIT)[-1].ret == -ENOMEM
    assert not page.vmemmap_optimized
    after = traced.vmemmap(page, 4096)
    assert all(mapping.writable for mapping in after)
    assert len({mapping.pfn for mapping in after}) == 4096
    assert len({m.pfn for m in after} & {m.pfn for m in before}) == 4095
    assert after[0].pfn not in {mapping.pfn for mapping in before}
    assert traced.kernel.accounts().memmap == memmap
    traced.kernel.check_conservation()


@pytest.mark.parametrize(
    ("generation", "spare", "failures"),
    [
        # The 70 pages lie in two sections. One frame splits the first; the second is split once
        # the pages of the first have been remapped (without new heads) and their frames freed.
        ("6.7", 1, 1),
        # Two tables, the shared tail and one head. The second head waits for the 8 frames of the
        # first page, the tenth for the 64 of the next eight.
        ("7.1", 4, 2),
    ],
)
def test_lists_free_what_they_have_and_try_again(
    generation: str, spare: int, failures: int
) -> None:
    traced = Traced(generation)
    traced.kernel.hold_memory(0, leave=70 * 512 + spare)
    traced.run("grow 2MB 70")
    assert {page.pfn // 32768 for page in traced.pages()} == {0, 1}
    assert traced.total("optimize_calls") == 70 + failures
    assert traced.total("optimize_failures", "ENOMEM") == failures
    assert traced.total("hugepages_optimized") == 70


@pytest.mark.parametrize("generation", ["6.7", "6.8", "6.11", "6.15"])
def test_a_split_in_the_remap_pass_flushes_the_tlb(generation: str) -> None:
    """VMEMMAP_SPLIT_NO_TLB_FLUSH is a flag of the split pass only (c5ad3233)."""
    clock = CountingClock(0)
    traced = Traced(generation, clock=clock)
    traced.kernel.hold_memory(0, leave=70 * 512 + 1)
    traced.run("grow 2MB 70")
    # After the split pass, which had a frame for one of two tables; before frames are freed for
    # the other table; of its split; and after the remap pass.
    assert clock.spent[FLUSH_TLB] == 4


@pytest.mark.parametrize("generation", LISTS)
def test_the_split_pass_flushes_the_tlb_once_for_all_tables(generation: str) -> None:
    clock = CountingClock(0)
    traced = Traced(generation, clock=clock).run("grow 2MB 70")
    assert len({page.pfn // 32768 for page in traced.pages()}) == 2
    assert clock.spent[SPLIT_PMD] == 2
    assert clock.spent[FLUSH_TLB] == 2
