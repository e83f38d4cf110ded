# SPDX-License-Identifier: Apache-2.0
"""Known workloads, counted exactly. The figures are worked out by hand from the kernel sources."""

from typing import NamedTuple

import pytest

from tests.sim_backend.harness import ALL, big, since


class Figures(NamedTuple):
    """What one optimised 2 MB page does: PTEs, frames freed, frames allocated, PTEs restored."""

    ptes: int
    freed: int
    heads: int
    restored: int


# 512 struct pages of 64 bytes fill 8 pages of 4096; two stay in patch v17, one from 5.18 on. From
# 6.2 on the head moves as well: all eight are remapped and freed, one is allocated.
EXPECTED_2MB = since(
    {
        "v17": Figures(0, 0, 0, 0),
        "v17-enabled": Figures(6, 6, 0, 6),
        "5.18": Figures(7, 7, 0, 7),
        "6.2": Figures(8, 8, 1, 7),
    }
)
# 262144 struct pages fill 4096 pages.
EXPECTED_1GB = since(
    {
        "v17": Figures(0, 0, 0, 0),
        "v17-enabled": Figures(4094, 4094, 0, 4094),
        "5.18": Figures(4095, 4095, 0, 4095),
        "6.2": Figures(4096, 4096, 1, 4095),
    }
)


@pytest.mark.parametrize("pages", [23, 509])
@pytest.mark.parametrize("generation", ALL)
def test_2mb_pages_there_and_back(generation: str, pages: int) -> None:
    expected = EXPECTED_2MB[generation]
    traced = big(generation)
    saved = traced.kernel.accounts().memmap
    traced.run(f"grow 2MB {pages}")
    assert traced.total("optimize_calls") == pages
    assert traced.total("hugepages_optimized") == (pages if expected.ptes else 0)
    assert traced.total("ptes_remapped") == pages * expected.ptes
    assert traced.total("frames_freed") == pages * expected.freed
    assert traced.total("frames_allocated", "head") == pages * expected.heads
    saved -= traced.kernel.accounts().memmap
    assert saved == pages * (expected.freed - expected.heads)

    traced.run(f"shrink 2MB {pages}")
    assert traced.total("ptes_restored") == pages * expected.restored
    assert traced.total("frames_allocated", "restore") == pages * expected.restored
    assert traced.total("hugepages_restored") == (pages if expected.restored else 0)
    assert traced.kernel.accounts().hugetlb == 0


@pytest.mark.parametrize("generation", ALL)
def test_one_1gb_page_there_and_back(generation: str) -> None:
    expected = EXPECTED_1GB[generation]
    traced = big(generation).run("grow 1GB 1")
    assert traced.total("optimize_calls") == 1
    assert traced.total("ptes_remapped") == expected.ptes
    assert traced.total("frames_freed") == expected.freed
    assert traced.total("frames_allocated", "head") == expected.heads
    traced.run("shrink 1GB 1")
    assert traced.total("ptes_restored") == expected.restored


def test_the_seed_returns_zero_for_now() -> None:
    traced = big("v17").run("grow 2MB 23", "shrink 2MB 23")
    assert traced.total("optimize_calls") == 23
    assert traced.total("hugepages_skipped", "unsupported") == 23
    assert traced.total("hugepages_restored") == 0
    assert traced.total("restore_failures", "ENOMEM") == 0


def test_totals_that_everybody_quotes() -> None:
    assert big("v17-enabled").run("grow 2MB 23").total("ptes_remapped") == 138
    assert big("5.18").run("grow 2MB 23").total("frames_freed") == 161
