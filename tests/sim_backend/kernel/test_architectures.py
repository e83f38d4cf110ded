# SPDX-License-Identifier: Apache-2.0
"""Every row of patch v17's table of architectures. The figures are worked out by hand."""

import pytest

from probes.events import Kind, Reason
from probes.geometry import ARCHITECTURES, GIB, KIB, MIB, Geometry, size_label
from tests.sim_backend.harness import Traced

# (page size, huge page size): frames freed in patch v17, and from 6.2 on (net of the new head).
# struct_size: 64 bytes for each base page, in pages of that size, less the reserved ones.
FREED = {
    (4 * KIB, 64 * KIB): (0, 0),
    (4 * KIB, 2 * MIB): (6, 7),
    (4 * KIB, 32 * MIB): (126, 127),
    (4 * KIB, 1 * GIB): (4094, 4095),
    (16 * KIB, 2 * MIB): (0, 0),
    (16 * KIB, 32 * MIB): (6, 7),
    (16 * KIB, 1 * GIB): (254, 255),
    (64 * KIB, 2 * MIB): (0, 0),
    (64 * KIB, 512 * MIB): (6, 7),
    (64 * KIB, 16 * GIB): (254, 255),
}


def machine(generation: str, page_size: int, size: int) -> Traced:
    memory = max(4 * GIB, 4 * size)
    return Traced(generation, sizes=(size,), memory=memory, geometry=Geometry(page_size))


def test_the_table_is_complete() -> None:
    rows = {
        (page_size, size)
        for pages in ARCHITECTURES.values()
        for page_size, sizes in pages.items()
        for size in sizes
    }
    assert rows == set(FREED)


@pytest.mark.parametrize(("page_size", "size"), list(FREED))
@pytest.mark.parametrize("generation", ["v17-enabled", "7.1"])
def test_one_page_there_and_back(generation: str, page_size: int, size: int) -> None:
    expected = FREED[page_size, size][generation == "7.1"]
    traced = machine(generation, page_size, size).run(f"grow {size_label(size)} 1")
    before = traced.kernel.accounts().memmap
    (leave,) = traced.of(Kind.OPTIMIZE_EXIT)
    assert leave.frames_freed - leave.frames_allocated == expected
    assert leave.reason == (Reason.NONE if expected else Reason.UNSUPPORTED)
    traced.run(f"shrink {size_label(size)} 1")
    assert traced.total("frames_allocated", "restore") == expected
    assert traced.kernel.accounts().memmap == before + expected


@pytest.mark.parametrize(
    ("page_size", "levels"),
    [
        # (first bit, entries) of pgd, p4d, pud and pmd with 48-bit addresses.
        (4 * KIB, [(39, 512), (39, 1), (30, 512), (21, 512)]),
        (16 * KIB, [(47, 2), (47, 1), (36, 2048), (25, 2048)]),
        (64 * KIB, [(42, 64), (42, 1), (42, 1), (29, 8192)]),
    ],
)
def test_levels_of_the_page_table(page_size: int, levels: list[tuple[int, int]]) -> None:
    mm = machine("v17-enabled", page_size, 32 * MIB if page_size < 64 * KIB else 2 * MIB)
    table = mm.kernel.machine.init_mm
    found = [table.pgd_level, table.p4d_level, table.pud_level, table.pmd_level]
    assert [(level.shift, level.entries) for level in found] == levels


@pytest.mark.parametrize(
    ("page_size", "size", "gigantic"),
    [
        (4 * KIB, 2 * MIB, False),
        (4 * KIB, 32 * MIB, True),
        (4 * KIB, 1 * GIB, True),
        (16 * KIB, 32 * MIB, False),
        (16 * KIB, 1 * GIB, True),
        (64 * KIB, 512 * MIB, False),
        (64 * KIB, 16 * GIB, True),
    ],
)
def test_which_sizes_are_gigantic(page_size: int, size: int, gigantic: bool) -> None:
    (hstate,) = machine("v17-enabled", page_size, size).kernel.machine.hstates
    assert hstate.gigantic is gigantic


@pytest.mark.parametrize("page_size", [16 * KIB, 64 * KIB])
def test_only_4k_kernels_map_vmemmap_with_huge_pmds(page_size: int) -> None:
    traced = machine("5.14", page_size, 512 * MIB)
    before = traced.kernel.accounts().page_tables
    traced.run("grow 512MB 1")
    assert traced.kernel.accounts().page_tables == before
