# SPDX-License-Identifier: Apache-2.0
"""Too little memory: what fails, what falls back, and what the kernel keeps silent about."""

from errno import ENOMEM

import pytest

from probes.events import Kind
from probes.geometry import MIB
from probes.operations import parse_operation
from sim_backend.kernel.errors import OperationError
from tests.sim_backend.harness import OPTIMIZING, Traced


def pools(traced: Traced) -> dict[str, int]:
    return {pool.state: pool.pages for pool in traced.kernel.pools().by_node}


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_a_page_that_cannot_be_restored_becomes_surplus(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    traced.kernel.hold_memory(0, leave=5)
    with pytest.raises(OperationError, match="memory to restore no more than 0") as failure:
        traced.run("shrink 2MB 1")
    assert failure.value.done == 0
    assert pools(traced) == {"total": 1, "free": 1, "surplus": 1}
    assert {leave.ret for leave in traced.of(Kind.RESTORE_EXIT)} == {-ENOMEM}
    assert traced.total("restore_failures", "ENOMEM") >= 1
    assert traced.total("ptes_restored") == 0
    traced.kernel.check_conservation()
    assert traced.free_frames() == 5


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_pages_freed_first_pay_for_those_after(generation: str) -> None:
    """Frames of a freed huge page become struct pages of the next (seen on v17 by Huawei)."""
    traced = Traced(generation).run("grow 2MB 23")
    traced.kernel.hold_memory(0, leave=7)
    traced.run("shrink 2MB 23")
    assert traced.total("hugepages_restored") == 23
    assert traced.kernel.accounts().hugetlb == 0


def test_a_list_that_fails_frees_what_it_has_restored() -> None:
    traced = Traced("6.7").run("grow 2MB 23")
    traced.kernel.hold_memory(0, leave=7)
    traced.run("shrink 2MB 23")
    assert traced.total("restore_failures", "ENOMEM") == 1


def test_a_list_gives_up_pages_until_one_can_be_freed() -> None:
    traced = Traced("6.7").run("grow 2MB 2", "hvo off", "grow 2MB 1")
    traced.kernel.hold_memory(0, leave=0)
    with pytest.raises(OperationError, match="memory to restore no more than 1") as failure:
        traced.run("shrink 2MB 3")
    assert failure.value.done == 1
    assert pools(traced) == {"total": 2, "free": 2, "surplus": 2}
    # Both as part of the list, then each alone.
    assert traced.total("restore_failures", "ENOMEM") == 3
    traced.kernel.check_conservation()


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_growing_as_far_as_memory_goes(generation: str) -> None:
    traced = Traced(generation, memory=128 * MIB)
    with pytest.raises(OperationError, match="grow 2MB 64: there is memory for no more than") as e:
        traced.run("grow 2MB 64")
    assert 50 < e.value.done < 64
    assert pools(traced)["total"] == e.value.done
    traced.kernel.check_conservation()


def test_62_without_memory_for_a_head_keeps_the_old_one() -> None:
    # All of 128 MB hangs on one huge PMD, which the first page splits.
    traced = Traced("6.2", memory=128 * MIB).run("grow 2MB 1")
    traced.kernel.hold_memory(0, leave=512)
    traced.run("grow 2MB 1")
    with_head, without = traced.of(Kind.OPTIMIZE_EXIT)
    assert (with_head.ptes, with_head.frames_allocated) == (8, 1)
    assert (without.ret, without.ptes, without.frames_freed) == (0, 7, 7)
    assert without.frames_allocated == 0


def test_71_without_memory_for_a_head_leaves_the_page_alone() -> None:
    traced = Traced("7.1", memory=128 * MIB).run("grow 2MB 1")
    traced.kernel.hold_memory(0, leave=512)
    traced.run("grow 2MB 1")
    _, leave = traced.of(Kind.OPTIMIZE_EXIT)
    assert (leave.ret, leave.ptes) == (-ENOMEM, 0)
    assert len(traced.of(Kind.REMAP_RANGE)) == 1


def test_71_without_memory_for_the_shared_tail() -> None:
    traced = Traced("7.1")
    traced.kernel.hold_memory(0, leave=512)
    traced.run("grow 2MB 1")
    (leave,) = traced.of(Kind.OPTIMIZE_EXIT)
    assert leave.ret == -ENOMEM
    assert traced.kernel.accounts().vmemmap_tails == 0


@pytest.mark.parametrize(("generation", "restored"), [("6.2", 0), ("6.7", 1)])
def test_frames_of_another_node_will_do_from_67_on(generation: str, restored: int) -> None:
    traced = Traced(generation, nodes=2).run("grow 2MB 1")
    (page,) = traced.pages()
    traced.kernel.hold_memory(page.nid, leave=0)
    if not restored:
        with pytest.raises(OperationError):
            traced.run("shrink 2MB 1")
    else:
        traced.run("shrink 2MB 1")
    assert traced.total("hugepages_restored") == restored


@pytest.mark.parametrize(("generation", "ptes"), [("6.2", 7), ("6.7", 8), ("7.1", 8)])
def test_a_new_head_may_be_of_another_node_from_67_on(generation: str, ptes: int) -> None:
    """6a898c2757af dropped __GFP_THISNODE. Without a new head 6.2 keeps the old one."""
    traced = Traced(generation, nodes=2)
    traced.kernel.hold_memory(0, leave=512)
    traced.run("grow 2MB 1")
    (leave,) = traced.of(Kind.OPTIMIZE_EXIT)
    assert (leave.ret, leave.node, leave.ptes) == (0, 0, ptes)
    assert leave.frames_allocated == ptes - 7
    memory = traced.kernel.machine.memory
    head, tail, *_ = (memory.node_of(page.pfn).nid for page in traced.vmemmap(traced.pages()[0]))
    assert (head, tail) == ((0, 0) if generation == "6.2" else (1, 1))


def test_pressure_ends() -> None:
    traced = Traced()
    free = traced.free_frames()
    assert traced.kernel.hold_memory(0, leave=100) == free - 100
    assert traced.free_frames() == 100
    traced.kernel.check_conservation()
    with pytest.raises(ValueError, match="100 free frames, not 101"):
        traced.kernel.hold_memory(0, leave=101)
    assert traced.kernel.hold_memory(0, leave=100) == 0
    traced.kernel.release_memory()
    assert traced.free_frames() == free


def test_demotion_needs_memory_first() -> None:
    traced = Traced("v17-enabled", sizes=(2 * MIB, 32 * MIB)).run("grow 32MB 1")
    traced.kernel.hold_memory(0, leave=0)
    with pytest.raises(OperationError, match="memory to restore no more than 0"):
        traced.kernel.operate(parse_operation("demote 32MB 1"))
    assert [p.pages for p in traced.kernel.pools().by_node if p.size == 32 * MIB] == [1, 1, 0]


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_all_pages_that_cannot_be_restored_are_surplus(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 5")
    (h,) = traced.kernel.machine.hstates
    traced.kernel.hold_memory(0, leave=0)
    with pytest.raises(OperationError, match="memory to restore no more than 0"):
        traced.kernel.operate(parse_operation("shrink 2MB 5"))
    assert (h.nr_huge_pages, h.free_huge_pages, h.surplus_huge_pages) == (5, 5, 5)
