# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping

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


def begun(memmap: Mapping[str, int] = MEMMAP) -> Drift:
    drift = Drift()
    drift.frames(counters(), memmap)
    return drift


def test_frames_that_left_the_memmap_were_counted() -> None:
    drift = begun()
    assert drift.frames(counters(8, 1), {"boot": 92, "runtime": 11}) == 0
    assert drift.frames(counters(8, 1, 7), {"boot": 92, "runtime": 18}) == 0


def test_frames_that_one_side_did_not_see() -> None:
    drift = begun()
    assert drift.frames(counters(7), MEMMAP) == 7
    assert drift.frames(counters(7), {"boot": 80, "runtime": 10}) == -13


def test_the_first_observation_is_the_baseline() -> None:
    assert Drift().frames(counters(509), MEMMAP) == 0


def test_it_begins_again_where_the_counters_do() -> None:
    drift = begun()
    assert drift.frames(counters(7), MEMMAP) == 7
    assert drift.frames(counters(epoch=1), MEMMAP) == 0
    assert drift.frames(counters(23, epoch=1), MEMMAP) == 23


def test_a_kernel_that_does_not_count_has_none() -> None:
    for memmap in ({}, {"runtime": 10}):
        seen = begun(memmap).frames(counters(), memmap)
        assert isinstance(seen, Absent)
        assert "nr_memmap_pages" in seen.reason


def test_probes_that_do_not_count_have_none() -> None:
    seen = begun().frames(Counters(), MEMMAP)
    assert seen == Absent("the probes do not count frames freed and allocated")
    assert net_freed(Counters({(Slot("frames_freed"), PageKey(9, 0)): 7})) is None


def test_a_memmap_counter_that_falls_below_zero_is_no_drift() -> None:
    drift = begun({"boot": 131072, "runtime": 7})
    assert drift.frames(counters(14343), {"boot": 131072, "runtime": -14336}) == 0
