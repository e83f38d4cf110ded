# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from exporter.trace.histogram import PowerOfTwo


def counted(*durations_us: float) -> PowerOfTwo:
    histogram = PowerOfTwo()
    for duration in durations_us:
        histogram.add(round(duration * 1000))
    return histogram


def test_slots_are_powers_of_two_without_a_gap() -> None:
    assert list(counted(0.999, 5, 7.999, 8).slots()) == [
        (0, 0, 1),
        (1, 1, 0),
        (2, 3, 0),
        (4, 7, 2),
        (8, 15, 1),
    ]


def test_lines() -> None:
    assert list(counted(5, 7, 40).lines()) == [
        "              usecs : count      distribution",
        "       4 -> 7       : 2          |****************************************|",
        "       8 -> 15      : 0          |                                        |",
        "      16 -> 31      : 0          |                                        |",
        "      32 -> 63      : 1          |********************                    |",
        "avg 17.3, min 5.0, max 40.0, total 52.0 usecs, count 3",
    ]


def test_a_single_call_beside_many_is_visible() -> None:
    first, *_ = [line for line in counted(1, *[5] * 1009).lines() if "->" in line]
    assert first.count("*") == 1


def test_without_calls_there_are_no_sums() -> None:
    histogram = PowerOfTwo()
    assert list(histogram.slots()) == []
    assert (histogram.min_ns, histogram.max_ns) == (None, None)
    assert len(list(histogram.lines())) == 1


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_every_duration_is_in_its_slot(durations: list[int]) -> None:
    histogram = PowerOfTwo()
    for duration in durations:
        histogram.add(duration)
    for low, high, count in histogram.slots():
        assert count == sum(low <= duration // 1000 <= high for duration in durations)
    assert (histogram.count, histogram.sum_ns) == (len(durations), sum(durations))
    assert (histogram.min_ns, histogram.max_ns) == (min(durations), max(durations))
    assert all(len(line) <= 80 for line in histogram.lines() if "->" in line)
