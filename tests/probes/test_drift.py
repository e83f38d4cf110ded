# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping

import pytest

from probes.counters import Counters, PageKey, Slot
from probes.drift import Drift, net_freed
from probes.observation import Absent

MEMMAP = {"boot": 100, "runtime": 10}


def counters(freed: int = 0, head: int = 0, restored: int = 0, epoch: int = 0) -> Counters:
    key = PageKey(9, 0)
    return Counters(
        {
            (Slot("frames_freed"), key): freed,
            (Slot("frames_allocated", "head"), key): head,
            (Slot("frames_allocated", "restore"), key): restored,
        },
        epoch=epoch,
    )


def drift_with_baseline(memmap: Mapping[str, int] = MEMMAP) -> Drift:
    drift = Drift()
    drift.frames(counters(), memmap)
    return drift


def test_drift_is_0_if_counted_frames_left_the_memmap() -> None:
    drift = drift_with_baseline()
    assert drift.frames(counters(8, 1), {"boot": 92, "runtime": 11}) == 0
    assert drift.frames(counters(8, 1, 7), {"boot": 92, "runtime": 18}) == 0


def test_drift_is_the_difference_if_one_side_missed_frames() -> None:
    drift = drift_with_baseline()
    assert drift.frames(counters(7), MEMMAP) == 7
    assert drift.frames(counters(7), {"boot": 80, "runtime": 10}) == -13


def test_the_first_observation_sets_the_baseline() -> None:
    assert Drift().frames(counters(509), MEMMAP) == 0


def test_a_new_epoch_of_the_counters_sets_a_new_baseline() -> None:
    drift = drift_with_baseline()
    assert drift.frames(counters(7), MEMMAP) == 7
    assert drift.frames(counters(23, epoch=1), MEMMAP) == 0
    assert drift.frames(counters(509, epoch=1), MEMMAP) == 509 - 23


def test_drift_is_absent_without_memmap_counters() -> None:
    for memmap in ({}, {"runtime": 10}):
        seen = drift_with_baseline(memmap).frames(counters(), memmap)
        assert isinstance(seen, Absent)
        assert "nr_memmap_pages" in seen.reason


def test_drift_is_absent_without_frame_counters() -> None:
    seen = drift_with_baseline().frames(Counters(), MEMMAP)
    assert seen == Absent("the probes do not count frames freed and allocated")


@pytest.mark.parametrize(
    "left_out",
    [Slot("frames_freed"), Slot("frames_allocated", "head"), Slot("frames_allocated", "restore")],
)
def test_net_frames_need_every_counter(left_out: Slot) -> None:
    totals = {key: n for key, n in counters(23, 3, 7).totals.items() if key[0] != left_out}
    assert net_freed(Counters(totals)) is None
    assert net_freed(counters(23, 3, 7)) == 13


def test_a_negative_memmap_counter_causes_no_drift() -> None:
    drift = drift_with_baseline({"boot": 131072, "runtime": 7})
    assert drift.frames(counters(14343), {"boot": 131072, "runtime": -14336}) == 0
