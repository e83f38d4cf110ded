# SPDX-License-Identifier: Apache-2.0
"""The walk from pgd to pte: boundaries of every level, and what it counts."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.pagetable import (
    NONE,
    PAGE_KERNEL,
    Directory,
    PageTable,
    PteSlot,
    PteTable,
    mk_pte,
)
from sim_backend.kernel.sparse_vmemmap import (
    VmemmapRemapWalk,
    vmemmap_remap_free,
    vmemmap_remap_pte,
    vmemmap_remap_range,
)
from tests.sim_backend.harness import Traced

PAGE = 4096
START = 0xFFFFEA0000000000


def map_page(mm: PageTable, addr: int, pfn: int) -> None:
    pgd = mm.pgd_offset_k(addr)
    if pgd.get() == NONE:
        pgd.set(Directory(1, None))
    p4d = mm.p4d_offset(pgd, addr)
    if p4d.get() == NONE:
        p4d.set(Directory(512, None))
    pud = mm.pud_offset(p4d, addr)
    if pud.get() == NONE:
        pud.set(Directory(512, None))
    pmd = mm.pmd_offset(pud, addr)
    if pmd.get() == NONE:
        pmd.set(PteTable(range(0), 512, 0))
    mm.pte_offset_kernel(pmd, addr).set(mk_pte(pfn, PAGE_KERNEL))


@pytest.mark.parametrize("bits", [21, 30, 39], ids=["pmd", "pud", "pgd"])
def test_a_range_across_a_boundary(bits: int) -> None:
    machine = Traced("v17-enabled").kernel.machine
    mm = machine.init_mm
    boundary = START + (1 << bits)
    frames = [mm.translate(START + i * PAGE).pfn for i in range(6)]
    addresses = [boundary + i * PAGE for i in range(-3, 3)]
    for addr, pfn in zip(addresses, frames, strict=True):
        map_page(mm, addr, pfn)
    assert vmemmap_remap_free(machine, addresses[1], addresses[-1] + PAGE, addresses[0]) == 0
    assert [mm.translate(addr).pfn for addr in addresses] == [frames[0]] * 6
    assert [mm.translate(addr).writable for addr in addresses] == [True, *[False] * 5]


def test_the_walk_counts_the_reused_page_too() -> None:
    traced = Traced("v17-enabled")
    walk = VmemmapRemapWalk(vmemmap_remap_pte, FrameList(), reuse_addr=START + PAGE)
    assert vmemmap_remap_range(traced.kernel.machine, START + PAGE, START + 8 * PAGE, walk) == 0
    assert walk.nr_walked == 7
    assert len(walk.vmemmap_pages) == 6
    assert walk.reuse_page is not None
    assert walk.reuse_page.pfn == traced.kernel.machine.init_mm.translate(START + PAGE).pfn


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 63), st.sampled_from([NONE, 7, 8, 9])), max_size=6),
    st.integers(0, 63),
)
def test_runs_of_ptes_end_where_they_do(changes: list[tuple[int, int]], index: int) -> None:
    table = PteTable(range(100, 164), 64, 0)
    entries = [mk_pte(pfn, PAGE_KERNEL) for pfn in range(100, 164)]
    for at, value in changes:
        entry = mk_pte(value, PAGE_KERNEL) if value else NONE
        table.set_run(at, array("Q", (entry,)))
        entries[at] = entry
    pte, rest = PteSlot(table, index), entries[index:]
    up = [first - i * (1 << 12) == rest[0] for i, first in enumerate(rest)]
    same = [entry == rest[0] for entry in rest]
    assert pte.get() == rest[0]
    assert pte.consecutive(len(rest)) == [*up, False].index(False)
    assert pte.equal(len(rest)) == [*same, False].index(False)
