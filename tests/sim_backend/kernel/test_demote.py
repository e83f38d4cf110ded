# SPDX-License-Identifier: Apache-2.0
"""A 1 GB page becomes 512 pages of 2 MB: restored once, optimised 512 times."""

import pytest

from probes.events import Kind
from tests.sim_backend.harness import big

# Frames: restored, then freed less heads. kernel-history.md: net -511 from 5.18 on.
NET = {
    "v17-enabled": 512 * 6 - 4094,
    "5.14": 512 * 6 - 4094,
    "5.18": -511,
    "6.0": -511,
    "6.2": -511,
    "6.7": -511,
    "7.1": -511,
}


@pytest.mark.parametrize("generation", list(NET))
def test_one_page(generation: str) -> None:
    traced = big(generation).run("grow 1GB 1")
    before = traced.kernel.books().memmap
    traced.events.clear()
    traced.run("demote 1GB 1")
    assert traced.total("hugepages_restored") == 1
    assert traced.total("optimize_calls") == traced.total("hugepages_optimized") == 512
    assert before - traced.kernel.books().memmap == NET[generation]
    pools = {(p.size >> 20, p.state): p.pages for p in traced.kernel.pools().by_node}
    assert pools[1024, "total"] == 0
    assert pools[2, "total"] == pools[2, "free"] == 512


def test_they_can_all_be_freed_and_become_one_again() -> None:
    traced = big("v17-enabled").run("grow 1GB 1")
    (page,) = traced.pages(1 << 30)
    traced.run("demote 1GB 1", "shrink 2MB 512", "grow 1GB 1")
    assert [again.pfn for again in traced.pages(1 << 30)] == [page.pfn]


def test_the_parts_stay_on_their_node() -> None:
    traced = big("7.1", nodes=2).run("grow 1GB 2")
    traced.events.clear()
    traced.run("demote 1GB 1")
    assert len({event.node for event in traced.of(Kind.OPTIMIZE_ENTER)}) == 1
