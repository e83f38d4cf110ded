# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import pytest

from probes.baseline import Baseline
from probes.census.census import NodeCensus, PoolCensus
from probes.census.facts import CensusError, UnsettledError
from probes.census.settled import settled_baseline, wait_for_baseline
from probes.counters import Counters, PageKey, Slot

KEY = PageKey(9, 0)


def counted(optimized: int, restored: int) -> Counters:
    return Counters(
        {
            (Slot("hugepages_optimized"), KEY): optimized,
            (Slot("hugepages_restored"), KEY): restored,
            (Slot("hugepages_optimized"), PageKey(9, 1)): 0,
        }
    )


def pools(optimized: int) -> list[PoolCensus]:
    return [
        PoolCensus(9, 7, (NodeCensus(0, 509, optimized),)),
        PoolCensus(18, None, ()),
    ]


def attempt(censuses: list[list[PoolCensus]], counters: list[Counters]) -> Baseline:
    taken, copied = iter(censuses), iter(counters)
    return settled_baseline(
        lambda: next(taken), lambda: next(copied), sleep=lambda _: None, clock=lambda: 509.0
    )


def test_the_baseline_is_what_was_optimized_when_nothing_was_counted() -> None:
    seen = counted(23, 5)
    assert attempt([pools(55), pools(55)], [seen, seen]) == Baseline(
        {KEY: 37, PageKey(9, 1): 0}, {9: 7}, 509.0
    )


@pytest.mark.parametrize(
    ("second", "after"), [(56, counted(23, 5)), (55, counted(24, 5)), (55, counted(23, 6))]
)
def test_what_changes_meanwhile_is_no_baseline(second: int, after: Counters) -> None:
    with pytest.raises(UnsettledError, match="during the census"):
        attempt([pools(55), pools(second)], [counted(23, 5), after])


def test_a_busy_pool_is_tried_again_ever_more_rarely() -> None:
    results: Iterator[Baseline | None] = iter([*[None] * 9, Baseline({}, {})])
    pauses: list[float] = []

    def once() -> Baseline:
        found = next(results)
        if found is None:
            raise UnsettledError("busy")
        return found

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return True

    assert wait_for_baseline(once, wait) == Baseline({}, {})
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


def test_nobody_wants_it_any_more() -> None:
    def busy() -> Baseline:
        raise UnsettledError("busy")

    assert wait_for_baseline(busy, lambda _: False) is None


def test_what_waiting_does_not_help_is_an_error() -> None:
    def impossible() -> Baseline:
        raise CensusError("no BTF")

    with pytest.raises(CensusError, match="no BTF"):
        wait_for_baseline(impossible, lambda _: True)
