# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from dataclasses import replace

import pytest

from probes.baseline import Baseline, optimized_now
from probes.counters import Counters, PageKey, Slot
from probes.observation import Absent, Census, Probes, Status

SMALL, LARGE, OTHER_NODE = PageKey(9, 0), PageKey(18, 0), PageKey(9, 1)
BASELINE = Baseline({SMALL: 37, OTHER_NODE: 11}, {9: 7, 18: 4095})


def probes(
    counts: Mapping[tuple[str, PageKey], int],
    missed: Mapping[str, int] | None = None,
    map_errors: int = 0,
) -> Probes:
    """Counters of both sizes on one node, 0 unless given."""
    zeros = {
        (Slot(f"hugepages_{what}"), key): 0
        for what in ("optimized", "restored")
        for key in (SMALL, LARGE)
    }
    given = {(Slot(*name.split("/")), key): n for (name, key), n in counts.items()}
    status = Status(True, missed=missed or {}, map_errors={"operations": map_errors})
    return Probes(Counters(zeros | given), status)


def test_the_baseline_and_what_the_probes_count_since() -> None:
    seen = probes(
        {
            ("hugepages_optimized", SMALL): 23,
            ("hugepages_restored", SMALL): 29,
            ("hugepages_optimized", LARGE): 3,
        }
    )
    assert optimized_now(BASELINE, seen) == Census(
        {SMALL: 31, OTHER_NODE: 11, LARGE: 3}, BASELINE.frames_each
    )


def test_a_page_size_of_other_counters_is_not_one_of_optimized_pages() -> None:
    seen = probes({("frames_freed", PageKey(10, 0)): 509})
    census = optimized_now(BASELINE, seen)
    assert isinstance(census, Census)
    assert census.optimized == {SMALL: 37, OTHER_NODE: 11, LARGE: 0}


def test_the_time_is_that_of_the_census() -> None:
    census = optimized_now(replace(BASELINE, taken=1009.0), probes({}))
    assert isinstance(census, Census)
    assert census.taken == 1009.0


def test_what_a_page_saves_is_a_whole_number_of_frames() -> None:
    """Head frames are taken off: with them, 23 pages would not save the same each."""
    seen = probes(
        {
            ("hugepages_optimized", SMALL): 23,
            ("frames_freed", SMALL): 23 * 7 + 5,
            ("frames_allocated/head", SMALL): 5,
        }
    )
    census = optimized_now(Baseline({}, {}), seen)
    assert isinstance(census, Census)
    assert repr(census.frames_each) == "{9: 7}"


def test_where_nothing_happened_there_is_a_zero() -> None:
    census = optimized_now(Baseline({}, {}), probes({}))
    assert isinstance(census, Census)
    assert census.optimized == {SMALL: 0, LARGE: 0}


def test_without_a_census_the_reason_is_passed_on() -> None:
    assert optimized_now(Absent("no BTF"), probes({})) == Absent("no BTF")


@pytest.mark.parametrize("left_out", ["hugepages_optimized", "hugepages_restored"])
def test_without_both_counters_there_is_no_number(left_out: str) -> None:
    counters = probes({}).counters
    totals = {key: n for key, n in counters.totals.items() if key[0].family != left_out}
    seen = optimized_now(BASELINE, Probes(Counters(totals), Status(True)))
    assert isinstance(seen, Absent)
    assert "do not count" in seen.reason


@pytest.mark.parametrize("step", ["optimize", "restore", "remap_range", "remap_pte"])
def test_a_missed_hit_ends_the_count(step: str) -> None:
    seen = probes({}, missed={step: 3, "batch": 0})
    assert optimized_now(BASELINE, seen) == Absent("3 probe hits since the census were not counted")


def test_a_missed_hit_of_a_batch_changes_no_count() -> None:
    assert isinstance(optimized_now(BASELINE, probes({}, missed={"batch": 3})), Census)


def test_operations_that_were_not_counted_end_the_count() -> None:
    seen = optimized_now(BASELINE, probes({}, map_errors=2))
    assert seen == Absent("2 probe hits since the census were not counted")


def test_what_was_missed_before_the_census_does_not_matter() -> None:
    baseline = replace(BASELINE, dropped=5)
    seen = probes({}, missed={"optimize": 3}, map_errors=2)
    assert isinstance(optimized_now(baseline, seen), Census)
    assert isinstance(optimized_now(baseline, probes({}, missed={"restore": 6})), Absent)


def test_what_a_page_saves_is_what_the_probes_saw_where_the_kernel_does_not_say() -> None:
    seen = probes(
        {
            ("hugepages_optimized", SMALL): 23,
            ("frames_freed", SMALL): 23 * 7,
            ("frames_allocated/head", SMALL): 23,
        }
    )
    census = optimized_now(Baseline({}, {18: 4095}), seen)
    assert isinstance(census, Census)
    assert census.frames_each == {9: 6, 18: 4095}
    assert census.saved_frames() == 23 * 6


def test_saved_frames_are_unknown_if_an_optimized_pages_are() -> None:
    census = Census({SMALL: 23, LARGE: 0}, {18: 4095})
    assert census.saved_frames() is None
    assert census.saved_frames(LARGE) == 0
    assert Census({SMALL: 0, LARGE: 2}, {18: 4095}).saved_frames() == 8190
