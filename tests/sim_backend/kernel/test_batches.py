# SPDX-License-Identifier: Apache-2.0
"""From 6.7 on a pool grows by lists: the events around what happens to each page."""

import pytest

from probes.counters import BUCKETS_NS
from probes.events import Kind
from sim_backend.kernel.errors import OperationError
from tests.sim_backend.harness import ALL, LISTS, Traced


@pytest.mark.parametrize("generation", LISTS)
def test_a_list_is_one_batch(generation: str) -> None:
    traced = Traced(generation, nodes=2).run("grow 2MB 23")
    first, last = traced.events[0], traced.events[-1]
    assert (first.kind, last.kind) == (Kind.BATCH_ENTER, Kind.BATCH_EXIT)
    assert len(traced.of(Kind.BATCH_ENTER, Kind.BATCH_EXIT)) == 2
    for event in (first, last):
        assert (event.order, event.node, event.start, event.end) == (9, -1, 0, 0)
    assert (first.ptes, last.ptes, last.frames_freed, last.ret) == (0, 184, 0, 0)
    assert last.duration_ns == last.timestamp_ns - first.timestamp_ns
    assert last.duration_ns > sum(e.duration_ns for e in traced.of(Kind.OPTIMIZE_EXIT))


@pytest.mark.parametrize("generation", [name for name in ALL if name not in LISTS])
def test_earlier_kernels_have_no_batches(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 3", "overcommit 2MB 1")
    assert traced.of(Kind.BATCH_ENTER, Kind.BATCH_EXIT) == []


@pytest.mark.parametrize("generation", LISTS)
def test_a_page_fault_is_no_batch(generation: str) -> None:
    traced = Traced(generation).run("overcommit 2MB 3")
    assert traced.total("hugepages_optimized") == 3
    assert traced.of(Kind.BATCH_ENTER, Kind.BATCH_EXIT) == []


@pytest.mark.parametrize("generation", LISTS)
def test_each_list_counts_for_itself(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 3", "shrink 2MB 1", "hvo off", "grow 2MB 5")
    assert [event.ptes for event in traced.of(Kind.BATCH_EXIT)] == [24, 0]


@pytest.mark.parametrize("generation", LISTS)
def test_failed_pages_add_nothing(generation: str) -> None:
    traced = Traced(generation)
    traced.kernel.hold_memory(0, leave=512)
    traced.run("grow 2MB 1")
    assert [event.ptes for event in traced.of(Kind.BATCH_EXIT)] == [0]


@pytest.mark.parametrize("generation", LISTS)
def test_a_pool_without_memory_for_a_page_has_an_empty_batch(generation: str) -> None:
    """set_max_huge_pages: prep_and_add_allocated_folios is called with what there is."""
    traced = Traced(generation)
    traced.kernel.hold_memory(0, leave=0)
    with pytest.raises(OperationError, match="memory for no more than 0"):
        traced.run("grow 2MB 1")
    assert [event.kind for event in traced.events] == [Kind.BATCH_ENTER, Kind.BATCH_EXIT]


def test_batches_are_timed() -> None:
    traced = Traced("6.7").run("grow 2MB 23", "grow 2MB 7")
    histogram = traced.counters().durations["batch", 9]
    assert sum(histogram.counts) == 2
    assert histogram.sum_ns == sum(e.duration_ns for e in traced.of(Kind.BATCH_EXIT))
    assert histogram.sum_ns < 2 * BUCKETS_NS[-1]
