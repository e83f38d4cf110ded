# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.top.history import History, quantile
from probes.counters import BUCKETS_NS, Counters, Histogram, Slot, bucket_of
from tests.exporter.top.observations import OPTIMIZED, SMALL, at, counted, histogram


def history_of(*seconds_and_counts: tuple[float, int]) -> History:
    observations = [
        at(seconds, counted(hugepages_optimized=n)) for seconds, n in seconds_and_counts
    ]
    history = History(observations[0])
    for one in observations[1:]:
        history.add(one)
    return history


def test_rates_are_between_neighbors() -> None:
    history = history_of((10.0, 100), (12.0, 146), (12.5, 146), (14.5, 1155))
    assert history.trend([OPTIMIZED]) == [23.0, 0.0, 504.5]
    assert history.rate([OPTIMIZED]) == history.rate([OPTIMIZED], SMALL) == 504.5
    assert history.seconds == 4.5


def test_one_observation_has_no_rate() -> None:
    history = history_of((10.0, 23))
    assert history.rate([OPTIMIZED]) is None
    assert history.average([OPTIMIZED], 60) is None
    assert history.trend([OPTIMIZED]) == []


def test_an_average_covers_only_the_requested_time() -> None:
    history = history_of((0.0, 0), (40.0, 509), (70.0, 1009), (100.0, 1009))
    assert history.average([OPTIMIZED], 60) == pytest.approx(500 / 60)
    assert history.average([OPTIMIZED], 1000) == pytest.approx(1009 / 100)
    assert history.average([OPTIMIZED], 30) == 0


def test_an_unobserved_counter_has_no_total_and_no_rate() -> None:
    history = History(at(0.0))
    history.add(at(1.0, counted(hugepages_optimized=23)))
    history.add(at(2.0, counted(hugepages_optimized=46)))
    history.add(at(3.0))
    assert history.trend([OPTIMIZED]) == [None, 23.0, None]
    assert history.last.counters.sum([OPTIMIZED]) is None


def test_a_sum_with_a_missing_part_is_missing() -> None:
    head, restore = Slot("frames_allocated", "head"), Slot("frames_allocated", "restore")
    seen = at(0.0, Counters({(head, SMALL): 23}))
    assert seen.counters.sum([head]) == seen.counters.sum([head], SMALL) == 23
    assert seen.counters.sum([head, restore]) is None
    assert seen.counters.sum([head, restore], SMALL) is None


def test_a_counter_reset_has_no_rate() -> None:
    assert history_of((0.0, 509), (1.0, 23), (2.0, 46)).trend([OPTIMIZED]) == [None, 23.0]


def test_old_observations_are_dropped_but_not_the_first() -> None:
    history = History(at(0.0), keep=3)
    for second in range(1, 8):
        history.add(at(float(second)))
    assert [one.time_ns // 10**9 for one in history.observations] == [5, 6, 7]
    assert history.seconds == 7


def test_durations_of_the_last_minute() -> None:
    def seen(seconds: float, first: int, second: int) -> Counters:
        return Counters(durations={("optimize", 9): histogram(_3=first, _5=second)})

    history = History(at(0.0, seen(0.0, 23, 0)))
    history.add(at(50.0, seen(50.0, 23, 10)))
    history.add(at(100.0, seen(100.0, 23, 40)))
    everything = history.durations("optimize", 9, None)
    recent = history.durations("optimize", 9, 60)
    assert everything and recent
    assert (everything.counts[3], everything.counts[5]) == (23, 40)
    assert (recent.counts[3], recent.counts[5]) == (0, 40)
    assert history.durations("batch", 9, 60) is None


def test_quantiles_are_interpolated_within_their_bucket() -> None:
    # Bucket 3 holds 5 to 10 us, bucket 4 10 to 20 us.
    assert BUCKETS_NS[2:5] == (5_000, 10_000, 20_000)
    half = histogram(_3=10, _4=10)
    assert quantile(half, 0.5) == 10_000
    assert quantile(half, 0.25) == 7_500
    assert quantile(half, 0.95) == 19_000


def test_quantiles_of_no_samples_and_above_the_last_bound() -> None:
    assert quantile(Histogram(), 0.5) is None
    slow = histogram(**{f"_{len(BUCKETS_NS)}": 1})
    assert quantile(slow, 0.5) == float("inf")


@given(st.lists(st.integers(1, BUCKETS_NS[-1]), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times: list[int], share: float) -> None:
    counts = [0] * (len(BUCKETS_NS) + 1)
    for time in times:
        counts[bucket_of(time)] += 1
    estimate = quantile(Histogram(tuple(counts)), share)
    true = next(t for i, t in enumerate(sorted(times), 1) if i >= share * len(times))
    assert estimate is not None
    assert bucket_of(round(estimate)) == bucket_of(true)
