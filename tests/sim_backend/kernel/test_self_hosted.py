# SPDX-License-Identifier: Apache-2.0
"""Hot-added memory that holds its own struct pages (memory_hotplug.memmap_on_memory)."""

import pytest

from probes.counters import ENOTSUPP
from probes.events import Kind, Reason
from sim_backend.kernel.generation import GENERATIONS, SelfHosted
from tests.sim_backend.harness import Traced

SKIPPING = [n for n, g in GENERATIONS.items() if g.self_hosted is SelfHosted.SKIPPED]
REFUSING = [n for n, g in GENERATIONS.items() if g.self_hosted is SelfHosted.REFUSED]


def machine(generation: str) -> Traced:
    return Traced(generation, nodes=2, self_hosted=[1])


def test_which_kernels_do_what() -> None:
    assert SKIPPING == ["6.0", "6.2", "6.7"]
    assert REFUSING[0] == "6.8"
    assert set(REFUSING) | set(SKIPPING) == set(list(GENERATIONS)[list(GENERATIONS).index("6.0") :])


@pytest.mark.parametrize("generation", SKIPPING)
def test_up_to_67_pages_of_such_memory_are_skipped(generation: str) -> None:
    traced = machine(generation).run("grow 2MB 10")
    assert traced.total("hugepages_optimized") == 5
    assert traced.total("hugepages_skipped", "other") == 5
    skipped = [e for e in traced.of(Kind.OPTIMIZE_EXIT) if e.reason is Reason.OTHER]
    assert {event.node for event in skipped} == {1}
    assert len(traced.of(Kind.REMAP_RANGE)) == 5


@pytest.mark.parametrize("generation", REFUSING)
def test_from_68_on_the_walk_refuses_them(generation: str) -> None:
    traced = machine(generation).run("grow 2MB 10")
    assert traced.total("hugepages_optimized") == 5
    assert traced.total("optimize_failures", "ENOTSUPP") == 5
    refused = [event for event in traced.of(Kind.OPTIMIZE_EXIT) if event.ret]
    assert {(event.ret, event.node, event.ptes) for event in refused} == {(-ENOTSUPP, 1, 0)}
    # A refusal is no lack of memory: nothing is tried again.
    assert traced.total("optimize_calls") == 10


@pytest.mark.parametrize("generation", REFUSING)
def test_a_refusal_splits_nothing_and_keeps_no_frame(generation: str) -> None:
    traced = machine(generation)
    traced.kernel.hold_memory(0, leave=0)
    before = traced.kernel.accounts()
    traced.run("grow 2MB 3")
    after = traced.kernel.accounts()
    assert after.page_tables == before.page_tables
    assert after.memmap == before.memmap
    assert before.free - after.free == 3 * 512 + after.vmemmap_tails


@pytest.mark.parametrize("generation", [*SKIPPING, *REFUSING])
def test_pages_of_such_memory_leave_the_pool_without_a_restore_of_ptes(generation: str) -> None:
    traced = machine(generation)
    traced.kernel.hold_memory(0, leave=0)
    traced.run("grow 2MB 3", "shrink 2MB 3")
    assert traced.total("ptes_restored") == 0
    assert traced.kernel.accounts().hugetlb == 0
