# SPDX-License-Identifier: Apache-2.0
"""Nodes take turns, as the kernel lets them."""

import pytest

from probes.counters import PageKey, Slot
from probes.events import Kind
from probes.geometry import MIB
from probes.observation import Pool
from tests.sim_backend.harness import ALL, LISTS, Traced


def totals(traced: Traced) -> list[int]:
    return [pool.pages for pool in traced.kernel.pools().by_node if pool.state == "total"]


def order_of(traced: Traced, kind: Kind) -> list[int]:
    return [event.node for event in traced.of(kind)]


def test_growing_goes_round() -> None:
    traced = Traced("v17-enabled", nodes=3).run("grow 2MB 4")
    assert order_of(traced, Kind.OPTIMIZE_ENTER) == [0, 1, 2, 0]
    traced.run("grow 2MB 1")
    assert totals(traced) == [2, 2, 1]


@pytest.mark.parametrize("generation", LISTS)
def test_lists_are_worked_off_from_the_last(generation: str) -> None:
    traced = Traced(generation, nodes=3).run("grow 2MB 4")
    assert order_of(traced, Kind.OPTIMIZE_ENTER) == [0, 2, 1, 0]


def test_shrinking_goes_round_and_frees_from_the_last() -> None:
    traced = Traced("v17-enabled", nodes=3).run("grow 2MB 6")
    traced.run("shrink 2MB 4")
    assert order_of(traced, Kind.RESTORE_ENTER) == [0, 2, 1, 0]
    assert totals(traced) == [0, 1, 1]


@pytest.mark.parametrize("generation", ALL)
def test_a_full_node_is_passed_over(generation: str) -> None:
    traced = Traced(generation, nodes=2, memory=256 * MIB)
    traced.kernel.hold_memory(0, leave=0)
    traced.run("grow 2MB 5")
    assert totals(traced) == [0, 5]


def test_an_empty_node_is_passed_over() -> None:
    traced = Traced(nodes=2)
    traced.kernel.hold_memory(1, leave=0)
    traced.run("grow 2MB 5")
    traced.kernel.release_memory()
    traced.run("shrink 2MB 5")
    assert totals(traced) == [0, 0]


def test_counters_by_size_and_node() -> None:
    traced = Traced(sizes=(2 * MIB, 32 * MIB), nodes=2).run("grow 2MB 5", "grow 32MB 2")
    found = {
        key: value
        for (slot, key), value in traced.counters().totals.items()
        if slot == Slot("ptes_remapped")
    }
    assert found == {
        PageKey(9, 0): 18,
        PageKey(9, 1): 12,
        PageKey(13, 0): 126,
        PageKey(13, 1): 126,
    }


def test_pools_as_the_kernel_shows_them() -> None:
    traced = Traced(sizes=(32 * MIB, 2 * MIB), nodes=2).run("grow 2MB 3")
    assert list(traced.kernel.pools().by_node) == [
        Pool(2 * MIB, 0, "total", 2),
        Pool(2 * MIB, 0, "free", 2),
        Pool(2 * MIB, 0, "surplus", 0),
        Pool(2 * MIB, 1, "total", 1),
        Pool(2 * MIB, 1, "free", 1),
        Pool(2 * MIB, 1, "surplus", 0),
        Pool(32 * MIB, 0, "total", 0),
        Pool(32 * MIB, 0, "free", 0),
        Pool(32 * MIB, 0, "surplus", 0),
        Pool(32 * MIB, 1, "total", 0),
        Pool(32 * MIB, 1, "free", 0),
        Pool(32 * MIB, 1, "surplus", 0),
    ]
    assert traced.kernel.pools().reserved == {2 * MIB: 0, 32 * MIB: 0}


def test_a_pinned_task_faults_in_pages_of_its_node() -> None:
    traced = Traced(nodes=2)
    traced.kernel.pin(3)
    traced.run("overcommit 2MB 5", "overcommit 2MB 5")
    optimized = traced.of(Kind.OPTIMIZE_ENTER)
    assert {(event.cpu, event.node) for event in optimized} == {(3, 1)}
    assert len(optimized) == 10
    with pytest.raises(ValueError, match="there is no CPU 4: the machine has 4"):
        traced.kernel.pin(4)


@pytest.mark.parametrize("generation", ["6.2", *LISTS])
def test_a_new_head_frame_is_of_the_pages_node_not_of_the_cpus(generation: str) -> None:
    """11aad2631bf7: page_to_nid of the struct page. Tables are of the node of the CPU."""
    traced = Traced(generation, nodes=2)
    traced.kernel.pin(3)  # of node 1
    traced.run("grow 2MB 23")
    memory = traced.kernel.machine.memory
    heads = [(page.nid, traced.vmemmap(page)[0].pfn) for page in traced.pages()]
    assert len(heads) == 23
    assert all(memory.node_of(pfn).nid == nid for nid, pfn in heads)
