# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.bench.figures import InexactError, figure
from tests.bench.stream import BATCHED, KINDS, RING, Kept, Ring, keep_up, section

READING = figure([2e6, 3e6])


def test_a_ring_loses_what_it_has_no_room_for() -> None:
    ring = Ring()
    written = 0
    while ring.write():
        written += len(KINDS)
    assert RING - 2000 < written * 96 + written // len(KINDS) * 8 <= RING
    assert ring.lost == len(KINDS)


def test_what_finds_no_room_is_a_gap_in_the_numbers() -> None:
    kept = keep_up(9_000_000, 0.5)
    assert kept.lost > 0
    assert kept.received + kept.lost == kept.sent


def test_a_slow_writer_loses_nothing() -> None:
    kept = keep_up(9_000, 0.5)
    assert kept[1:4] == (0, kept.sent, 0)


def test_the_goal_is_that_nothing_is_lost() -> None:
    made = section({BATCHED: Kept(100, 1, 99, 1, 0.2)}, READING, figure([10e6, 10e6]))
    assert made.ratios["stream.received_at_900_000"].value == 0.99
    assert made.ratios["stream.received_at_900_000"].met is False
    assert made.ratios["stream.read_over_memcpy"].value == pytest.approx(0.25)


@pytest.mark.parametrize("kept", [Kept(100, 1, 98, 1, 0.2), Kept(100, 1, 99, 0, 0.2)])
def test_what_does_not_add_up_is_refused(kept: Kept) -> None:
    with pytest.raises(InexactError):
        section({BATCHED: kept}, READING, READING)
