# SPDX-License-Identifier: Apache-2.0
"""What happens when: order, repetition, and what is drawn from the seed."""

from itertools import pairwise

import pytest

from sim_backend.scenario.timeline import (
    Entry,
    Line,
    check_line,
    parse_interval,
    parse_time,
    seeded,
    timeline,
    to_time,
)


def entry(
    at: float, *texts: str, every: tuple[float, float] | None = None, until: float = 100
) -> Entry:
    return Entry(at, tuple(Line(text, "here") for text in texts), every, until, may_fail=False)


def happens(*entries: Entry, seed: int = 0, start: float = 0) -> list[tuple[float, str]]:
    """Times since the beginning, and actions."""
    now, found = -start, []
    for step in timeline(entries, seeded(seed), start):
        now += step.seconds
        found.append((now, str(step.action)))
    return found


def test_order_is_that_of_time_then_of_the_file() -> None:
    assert happens(
        entry(20, "hvo on"), entry(5, "grow 2MB 1", "hvo off"), entry(20, "restart")
    ) == [(5, "grow 2MB 1"), (5, "hvo off"), (20, "hvo on"), (20, "restart")]


def test_repetition_ends_with_until() -> None:
    times = [at for at, _ in happens(entry(10, "restart", every=(30, 30), until=70))]
    assert times == [10, 40, 70]


def test_repetitions_of_two_entries_mix() -> None:
    found = happens(
        entry(0, "hvo on", every=(20, 20), until=40), entry(10, "hvo off", every=(20, 20), until=40)
    )
    assert [text for _, text in found] == ["hvo on", "hvo off", "hvo on", "hvo off", "hvo on"]


def test_a_pause_before_the_beginning() -> None:
    (step, *_) = timeline([entry(5, "restart")], seeded(0), 7)
    assert step.seconds == 12


def test_draws_come_from_the_seed_and_stay_in_range() -> None:
    story = entry(0, "grow 2MB 5..23", every=(1, 3))
    one, same, other = happens(story, seed=1), happens(story, seed=1), happens(story, seed=2)
    assert one == same != other
    counts = {int(text.split()[2]) for _, text in one}
    assert counts <= set(range(5, 24))
    assert len(counts) > 10
    gaps = [b - a for (a, _), (b, _) in pairwise(one)]
    assert all(1 <= gap <= 3 for gap in gaps)
    assert max(gaps) - min(gaps) > 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("0s", 0), ("1.5m", 90), ("2h", 7200), ("1d", 86_400)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds
    assert parse_time(to_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "90", "-5s", "5 s", "1w", "s"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        parse_time(text)


def test_intervals() -> None:
    assert parse_interval("30s") == (30, 30)
    assert parse_interval("20s..1m") == (20, 60)
    for text in ("0s", "40s..20s"):
        with pytest.raises(ValueError, match="longer than 0"):
            parse_interval(text)


def test_lines_with_ranges_are_checked_at_both_ends() -> None:
    assert check_line("grow 2MB 5..23") == "grow 2MB 5..23"
    with pytest.raises(ValueError, match=r"23\.\.5 ends before it begins"):
        check_line("grow 2MB 23..5")
    with pytest.raises(ValueError, match="above 0"):
        check_line("grow 2MB 0..5")
    with pytest.raises(ValueError, match="invalid size"):
        check_line("grow 1..2 5")
