# SPDX-License-Identifier: Apache-2.0
"""Fault injection: which allocation fails, and that nothing else is any different."""

from errno import ENOMEM

import pytest

from probes.events import Kind
from probes.geometry import GIB, MIB
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.fail_page_alloc import FailPageAlloc
from sim_backend.kernel.generation import GENERATIONS, HeadFrame, PoolInterface, VmemmapMapping
from tests.sim_backend.harness import LISTS, OPTIMIZING, Traced

SPLIT_AND_KEPT = [
    name
    for name, generation in GENERATIONS.items()
    if generation.mapping is VmemmapMapping.PMD
    and generation.head is HeadFrame.KEPT
    and generation.interface is PoolInterface.PAGES
]


def gigantic(generation: str) -> Traced:
    return Traced(generation, sizes=(2 * MIB, GIB), memory=4 * GIB)


def fail(traced: Traced, *turns: int) -> None:
    traced.kernel.machine.memory.fail_page_alloc = FailPageAlloc(*turns)


def test_allocations_pass_and_fail_in_turn() -> None:
    injection = FailPageAlloc(2, 1, 0, 1, 1, 1)
    fates = [injection.should_fail() for _ in range(8)]
    assert fates == [False, False, True, True, False, True, False, False]
    assert not injection.armed


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_the_page_whose_frame_it_is_becomes_surplus(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1", "hvo off", "grow 2MB 2")
    fail(traced, 5, 1)
    # From 6.7 on what can't be restored in a list is tried once more.
    if GENERATIONS[generation].interface is PoolInterface.PAGES:
        with pytest.raises(OperationError) as failure:
            traced.run("shrink 2MB 3")
        assert failure.value.done == 2
    else:
        traced.run("shrink 2MB 3")
    assert [e.ret for e in traced.of(Kind.RESTORE_EXIT)].count(-ENOMEM) == 1
    assert not traced.kernel.machine.memory.fail_page_alloc.armed
    traced.kernel.check_conservation()


@pytest.mark.parametrize("generation", SPLIT_AND_KEPT)
def test_what_was_remapped_before_a_split_that_fails_is_undone(generation: str) -> None:
    traced = gigantic(generation)
    fail(traced, 3, 1)
    traced.run("grow 1GB 1")
    reserved = traced.kernel.geometry.reserved_pages
    assert [event.ret for event in traced.of(Kind.OPTIMIZE_EXIT)] == [-ENOMEM]
    assert len(traced.of(Kind.REMAP_PTE)) == 3 * 512 - reserved
    traced.kernel.check_conservation()
    assert not any(page.vmemmap_optimized for page in traced.pages(GIB))


@pytest.mark.parametrize("generation", LISTS)
def test_a_list_s_folio_is_undone_and_tried_again(generation: str) -> None:
    """The split pass ends without memory, and so does the remap pass at the same place."""
    traced = gigantic(generation)
    head = GENERATIONS[generation].head
    fail(traced, 3, 1, 1 + (head is HeadFrame.REQUIRED), 1)
    traced.run("grow 1GB 1")
    # Without a list there is nothing to free, so no second try: the shared head is lost (6.12.114).
    again = [] if head is HeadFrame.REQUIRED_SHARED else [0]
    assert [event.ret for event in traced.of(Kind.OPTIMIZE_EXIT)] == [-ENOMEM, *again]
    traced.kernel.check_conservation()


def test_one_by_one_is_the_same() -> None:
    """While an allocation is yet to fail nothing is done in runs; afterwards it is again."""
    seen = []
    for one_by_one in (False, True):
        traced = gigantic("6.0")
        traced.kernel.machine.one_by_one = one_by_one
        traced.run("grow 1GB 1")
        fail(traced, 4000, 1)
        with pytest.raises(OperationError):
            traced.run("demote 1GB 1")
        traced.run("demote 1GB 1", "shrink 2MB 512")
        seen.append([event._replace(timestamp_ns=0, duration_ns=0) for event in traced.events])
    assert seen[0] == seen[1]
    assert -ENOMEM in {event.ret for event in seen[0]}
