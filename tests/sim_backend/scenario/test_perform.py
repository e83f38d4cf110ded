# SPDX-License-Identifier: Apache-2.0
"""Tasks that keep huge pages, memory pressure and fragmentation: frames stay conserved."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.geometry import GIB, KIB, MIB
from probes.operations import Operation
from sim_backend.kernel.errors import OperationError
from sim_backend.scenario.actions import Action, parse_action
from sim_backend.scenario.perform import perform
from tests.sim_backend.harness import ALL, Traced


def after(*texts: str, generation: str = "6.7", nodes: int = 1) -> Traced:
    traced = Traced(generation, nodes=nodes, memory=1 * GIB)
    for text in texts:
        perform(traced.kernel, parse_action(text))
        traced.kernel.check_conservation()
    return traced


def pool(traced: Traced) -> dict[str, int]:
    totals = dict.fromkeys(("total", "free", "surplus"), 0)
    for count in traced.kernel.pools().by_node:
        totals[count.state] += count.pages
    return totals


@pytest.mark.parametrize("generation", ALL)
def test_tasks_take_from_the_pool_then_surplus(generation: str) -> None:
    traced = after("grow 2MB 23", "take 2MB 17", generation=generation)
    assert pool(traced) == {"total": 23, "free": 6, "surplus": 0}
    perform(traced.kernel, parse_action("take 2MB 11"))
    assert pool(traced) == {"total": 28, "free": 0, "surplus": 5}
    perform(traced.kernel, parse_action("give 2MB 28"))
    traced.kernel.check_conservation()
    assert pool(traced) == {"total": 23, "free": 23, "surplus": 0}


def test_tasks_take_from_every_node() -> None:
    traced = after("grow 2MB 22", "take 2MB 22", nodes=2)
    assert pool(traced) == {"total": 22, "free": 0, "surplus": 0}


@pytest.mark.parametrize("generation", ALL)
def test_a_reservation_keeps_pages_in_the_pool_and_ends_with_its_surplus(generation: str) -> None:
    traced = after("grow 2MB 23", "reserve 2MB 17", generation=generation)
    assert pool(traced) == {"total": 23, "free": 23, "surplus": 0}
    perform(traced.kernel, parse_action("reserve 2MB 11"))
    assert pool(traced) == {"total": 28, "free": 28, "surplus": 5}
    perform(traced.kernel, parse_action("unreserve 2MB 28"))
    traced.kernel.check_conservation()
    assert pool(traced) == {"total": 23, "free": 23, "surplus": 0}


def test_a_dissolved_page_leaves_the_pool_for_good() -> None:
    traced = after("grow 2MB 23", "dissolve 2MB 3")
    assert pool(traced) == {"total": 20, "free": 20, "surplus": 0}
    assert traced.total("hugepages_restored") == 3


def test_pages_in_use_do_not_leave_the_pool() -> None:
    traced = after("grow 2MB 23", "take 2MB 20")
    with pytest.raises(OperationError, match="no more than 3"):
        perform(traced.kernel, parse_action("shrink 2MB 23"))
    assert pool(traced) == {"total": 20, "free": 0, "surplus": 20}


@pytest.mark.parametrize(
    ("before", "action", "said"),
    [
        ("grow 2MB 5", "give 2MB 1", "no page in use but 0"),
        ("take 2MB 3", "give 2MB 5", "no page in use but 3"),
        ("pressure 20KB", "take 2MB 1", "memory for no more than 0"),
        ("hvo on", "resize 1GB 1", "this kernel has huge pages of 2MB"),
        ("pressure 20KB", "reserve 2MB 1", "memory for none of them"),
        ("reserve 2MB 3", "unreserve 2MB 5", "no reserved page but 3"),
        ("reserve 2MB 3", "dissolve 2MB 1", "no page but 0 that could be dissolved"),
        ("hvo on", "take 1GB 1", "this kernel has huge pages of 2MB"),
        ("hvo on", "pressure 2GB", "node 0 has"),
        ("hvo on", "fragment 3MB", "power of two"),
        ("hvo on", "fragment 1KB", "power of two"),
        ("hvo on", "clock -3600", "before the boot"),
        ("hvo on", "restart", "happens to a backend"),
        ("hvo on", "lose 5", "happens to a backend"),
    ],
)
def test_impossible(before: str, action: str, said: str) -> None:
    traced = after(before)
    with pytest.raises(OperationError, match=said) as error:
        perform(traced.kernel, parse_action(action))
    assert action.partition(" ")[0] in str(error.value)
    traced.kernel.check_conservation()


def test_a_step_that_the_generation_lacks() -> None:
    with pytest.raises(OperationError, match=r"kernel 5\.18 has no such step"):
        after("detach batch", generation="5.18")


def test_resize_goes_both_ways_and_nowhere() -> None:
    assert pool(after("resize 2MB 23"))["total"] == 23
    assert pool(after("resize 2MB 23", "resize 2MB 5"))["total"] == 5
    traced = after("resize 2MB 23")
    perform(traced.kernel, parse_action("resize 2MB 23"))
    assert traced.total("optimize_calls") == 23


def test_pressure_is_of_every_node_and_replaces_the_last() -> None:
    traced = after("pressure 4KB", "pressure 20KB", nodes=2)
    assert [traced.free_frames(node) for node in range(2)] == [5, 5]
    before = after(nodes=2).free_frames()
    perform(traced.kernel, parse_action("pressure off"))
    assert traced.free_frames() == before


def test_fragmented_memory_has_no_huge_page() -> None:
    traced = after()
    free = traced.free_frames()
    perform(traced.kernel, parse_action("fragment 1MB"))
    traced.kernel.check_conservation()
    assert free * 0.49 < traced.free_frames() <= free * 0.5 + 256
    runs = traced.kernel.machine.memory.nodes[0].buddy.runs()
    assert max(end - start for start, end in runs) == 256
    with pytest.raises(OperationError, match="no more than 0"):
        perform(traced.kernel, parse_action("grow 2MB 1"))
    perform(traced.kernel, parse_action("pressure off"))
    assert traced.free_frames() == free
    perform(traced.kernel, parse_action("grow 2MB 23"))
    traced.kernel.check_conservation()


ACTIONS = st.one_of(
    st.builds(
        Operation,
        st.sampled_from(["grow", "shrink", "overcommit"]),
        st.just(2 * MIB),
        st.integers(1, 9),
    ),
    st.builds(
        Action,
        st.sampled_from(["resize", "take", "give", "reserve", "unreserve", "dissolve"]),
        size=st.just(2 * MIB),
        amount=st.integers(1, 23),
    ),
    st.builds(Action, st.just("pressure"), size=st.sampled_from([0, 4 * KIB, 512 * KIB, 4 * MIB])),
    st.builds(Action, st.just("fragment"), size=st.sampled_from([64 * KIB, MIB])),
    st.builds(Action, st.just("slow"), amount=st.sampled_from([1.0, 8.0])),
    st.builds(Operation, st.just("hvo"), on=st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(generation=st.sampled_from(ALL), actions=st.lists(ACTIONS, max_size=12))
def test_every_frame_is_somewhere(generation: str, actions: list[Operation | Action]) -> None:
    kernel = Traced(generation, nodes=2, memory=256 * MIB).kernel
    for action in actions:
        try:
            perform(kernel, action)
        except OperationError as refusal:
            assert refusal.done >= 0
        kernel.check_conservation()
