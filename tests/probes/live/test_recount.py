# SPDX-License-Identifier: Apache-2.0
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from probes.baseline import Baseline, optimized_now
from probes.counters import Counters, PageKey, Slot
from probes.live.recount import Recount, read_census
from probes.observation import Absent, Census, Observation, Probes, Status

SMALL, LARGE = PageKey(9, 0), PageKey(18, 1)
FIRST = Baseline({SMALL: 37, LARGE: 0}, {9: 7, 18: 4095}, 1.0)


def seen(
    second: int, optimized: int, restored: int = 0, baseline: Baseline | Absent = FIRST
) -> Observation:
    counters = Counters(
        {
            (Slot("hugepages_optimized"), SMALL): optimized,
            (Slot("hugepages_restored"), SMALL): restored,
        }
    )
    probes = Probes(counters, Status(True, missed={"optimize": 0}))
    return Observation(second, probes, census=optimized_now(baseline, probes))


def left(path: Path, optimized: int, *, began: int = 15, ended: int = 16, **changes: Any) -> Path:
    """A census of 60 pages of 2 MB, taken between seconds 10 and 20 unless told otherwise."""
    pool = {
        "size": "2MB",
        "numa_node": 0,
        "pages": 60,
        "optimized": optimized,
        "saved_bytes": optimized * 7 * 4096,
        "possible_bytes": 60 * 7 * 4096,
        **changes,
    }
    text = {"began_ns": began, "ended_ns": ended, "taken": 509.0, "pools": [pool]}
    path.write_text(json.dumps(text))
    return path


def test_a_census_that_agrees_has_no_drift(tmp_path: Path) -> None:
    recount = Recount(left(tmp_path / "census.json", 60))
    assert recount.take_up(seen(10, 23), FIRST) is FIRST  # the snapshot
    baseline = recount.take_up(seen(20, 23), FIRST)
    assert baseline == Baseline({SMALL: 37}, {9: 7, 18: 4095}, 509.0, drift=0)


def test_a_difference_is_a_drift_in_frames_and_the_census_is_right_from_now_on(
    tmp_path: Path,
) -> None:
    recount = Recount(left(tmp_path / "census.json", 57))
    recount.take_up(seen(10, 23), FIRST)
    baseline = recount.take_up(seen(20, 23), FIRST)
    assert isinstance(baseline, Baseline)
    assert (baseline.drift, baseline.optimized) == (3 * 7, {SMALL: 34})
    assert seen(30, 24, 0, baseline).census == Census({SMALL: 58}, {9: 7, 18: 4095}, 509.0)


def test_drift_adds_up(tmp_path: Path) -> None:
    drifted = replace(FIRST, drift=14)
    recount = Recount(left(tmp_path / "census.json", 61))
    recount.take_up(seen(10, 23), drifted)
    baseline = recount.take_up(seen(20, 23), drifted)
    assert isinstance(baseline, Baseline)
    assert baseline.drift == 14 - 7


def test_after_dropped_hits_the_count_goes_on_without_a_drift(tmp_path: Path) -> None:
    recount = Recount(left(tmp_path / "census.json", 60))
    lossy = seen(20, 23)
    assert isinstance(lossy.probes, Probes)
    probes = lossy.probes._replace(status=Status(True, missed={"optimize": 3}))
    lossy = replace(lossy, probes=probes, census=Absent("3 probe hits"))
    recount.take_up(replace(lossy, time_ns=10), FIRST)
    baseline = recount.take_up(lossy, FIRST)
    assert isinstance(baseline, Baseline)
    assert (baseline.drift, baseline.dropped) == (None, 3)
    assert optimized_now(baseline, probes) == Census({SMALL: 60}, {9: 7, 18: 4095}, 509.0)


def test_without_a_first_census_the_later_one_is_the_baseline(tmp_path: Path) -> None:
    none = Absent("hugetlb was busy")
    recount = Recount(left(tmp_path / "census.json", 60))
    recount.take_up(seen(10, 23), none)
    assert recount.take_up(seen(20, 23), none) == Baseline({SMALL: 37}, {9: 7}, 509.0)


@pytest.mark.parametrize(("began", "ended"), [(9, 16), (15, 21), (1, 2), (16, 15)])
def test_a_census_of_another_time_is_left_alone(tmp_path: Path, began: int, ended: int) -> None:
    recount = Recount(left(tmp_path / "census.json", 5, began=began, ended=ended))
    recount.take_up(seen(10, 23), FIRST)
    assert recount.take_up(seen(20, 23), FIRST) is FIRST


@pytest.mark.parametrize("after", [(24, 0), (24, 1)])
def test_operations_meanwhile_make_it_incomparable(
    tmp_path: Path, after: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    recount = Recount(left(tmp_path / "census.json", 60))
    recount.take_up(seen(10, 23), FIRST)
    assert recount.take_up(seen(20, *after), FIRST) is FIRST
    assert "optimized or restored meanwhile" in caplog.text


def test_no_file_is_no_census(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for recount in (Recount(None), Recount(tmp_path / "none.json")):
        recount.take_up(seen(10, 23), FIRST)
        assert recount.take_up(seen(20, 23), FIRST) is FIRST
    assert not caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"pools": 1}', '{"pools": [{"size": "many"}]}', "\0", '{"pools": [5]}'],
)
def test_what_is_no_census_is_one_line(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "census.json"
    path.write_text(text)
    assert Recount(path).take_up(seen(10, 23), FIRST) is FIRST
    (record,) = caplog.records
    assert record.getMessage().startswith(f"census ignored: {path} is no census (")


def test_a_pool_whose_saving_is_not_known(tmp_path: Path) -> None:
    path = left(tmp_path / "census.json", 23, possible_bytes=None, saved_bytes=None)
    later = read_census(path)
    assert later is not None
    assert later.census == Census({SMALL: 23}, {})
