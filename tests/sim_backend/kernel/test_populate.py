# SPDX-License-Identifier: Apache-2.0
"""How vmemmap is mapped at boot."""

from array import array

import pytest

from probes.geometry import GIB, KIB, MIB, Geometry
from probes.operations import parse_operation
from sim_backend.kernel.pagetable import NONE, PAGE_KERNEL, PteTable, mk_pte, pmd_leaf
from tests.sim_backend.harness import Traced

START = 0xFFFFEA0000000000


def frames(traced: Traced) -> list[int]:
    return [pfn for run in traced.kernel.machine.init_mm.mapped_runs() for pfn in run]


@pytest.mark.parametrize("generation", ["v17", "v17-enabled", "5.14", "7.1"])
@pytest.mark.parametrize("page_size", [4 * KIB, 16 * KIB, 64 * KIB])
@pytest.mark.parametrize("nodes", [1, 3])
def test_every_struct_page_has_one_frame_of_its_own_node(
    generation: str, page_size: int, nodes: int
) -> None:
    sizes = (64 * MIB,)
    traced = Traced(generation, sizes=sizes, nodes=nodes, geometry=Geometry(page_size))
    memory = traced.kernel.machine.memory
    found = frames(traced)
    per_node = GIB // page_size * 64 // page_size
    assert len(found) == len(set(found)) == nodes * per_node
    for nid in range(nodes):
        own = found[nid * per_node : (nid + 1) * per_node]
        assert {memory.node_of(pfn).nid for pfn in own} == {nid}
    traced.kernel.check_conservation()


def test_the_seed_maps_base_pages() -> None:
    mm = Traced("v17-enabled").kernel.machine.init_mm
    assert not pmd_leaf(mm.pmd_off_k(START))
    assert mm.translate(START + 4096).pfn == mm.translate(START).pfn + 1


def test_later_kernels_map_huge_pages() -> None:
    mm = Traced("5.14").kernel.machine.init_mm
    assert pmd_leaf(mm.pmd_off_k(START))
    first = mm.translate(START)
    assert first.pfn % 512 == 0
    assert mm.translate(START + 5 * 4096).pfn == first.pfn + 5
    assert first.writable


def test_tables_lie_next_to_each_other() -> None:
    """Base pages alone: a table for each 128 MB, of one frame each."""
    mm = Traced("v17-enabled").kernel.machine.init_mm
    tables = [mm.pmd_off_k(START + n * 2 * MIB).get() for n in range(8)]
    own = [table.frame for table in tables if isinstance(table, PteTable)]
    assert sorted(own) == list(range(min(own), min(own) + 8))


def test_a_table_has_as_many_entries_as_fit() -> None:
    table = PteTable(range(100, 103), 512, 7)
    assert list(table.mapped_runs()) == [range(100, 103)]
    assert [table.get(i) for i in (2, 3, 511)] == [mk_pte(102, PAGE_KERNEL), NONE, NONE]
    full = PteTable(range(512), 512, 7)
    before = list(full.mapped_runs())
    full.set_run(511, array("Q", [mk_pte(511, PAGE_KERNEL)]))
    assert list(full.mapped_runs()) == before == [range(512)]


def test_a_terabyte_boots() -> None:
    traced = Traced("v17-enabled", memory=1024 * GIB)
    assert traced.kernel.accounts().memmap == 1024 * GIB // 4096 * 64 // 4096
    traced.kernel.operate(parse_operation("grow 2MB 1"))
    assert traced.total("frames_freed") == 6
