# SPDX-License-Identifier: Apache-2.0
"""What is made of the guests' notes."""

from typing import Any

import pytest

from probes.geometry import MIB
from tests.bench import kernel_cost
from tests.bench.kernel_cost import (
    FULL_FENTRY,
    KERNELS,
    PAGES,
    PEERS,
    QUICK,
    RANGE_FENTRY,
    SHIPPED_STREAM,
    SHORT,
    THOROUGH,
    section,
)
from tests.bench.kernel_cost_guest import BCC, CLOCKS, NONE, Job
from tests.bench.kernel_limit import ZEROED_PAGES, empty, job_of_zeroed, timing

COSTS = {
    FULL_FENTRY: 1.1,
    RANGE_FENTRY: 1.02,
    PEERS[0]: 1.06,
    empty(FULL_FENTRY): 1.08,
    empty(RANGE_FENTRY): 1.01,
    empty("full kprobe"): 1.2,
    empty("range kprobe"): 1.1,
    timing(FULL_FENTRY): 1.09,
}


def times(job: Job, factor: float) -> dict[str, Any]:
    """As the guest notes them: growing takes 1000 ns a page, shrinking twice that."""
    return {
        f"{2 * MIB} {pages}": {
            f"{verb}_{clock}": [each * pages * factor] * job.repetitions
            for verb, each in (("grow", 1000), ("shrink", 2000))
            for clock in CLOCKS
        }
        for pages in job.pages_2mb
    }


def notes_of(job: Job) -> dict[str, Any]:
    said = {"received": 90, "lost": 10}
    return {
        way: {
            "before": times(job, 1),
            "during": times(job, COSTS.get(way, 1.0)),
            "after": times(job, 1),
            "said": said if "stream" in way else {},
        }
        for way in job.ways
    }


def test_goals_are_held_against_the_baseline_and_bpftrace() -> None:
    ratios = section({"debian-6.1": notes_of(THOROUGH)}).ratios
    assert ratios["kernel_cost.full_fentry_2mb_6_1"].value == pytest.approx(1.1)
    assert ratios["kernel_cost.full_fentry_2mb_6_1"].met is False
    assert ratios["kernel_cost.range_fentry_2mb_6_1"].met is True
    assert ratios["kernel_cost.full_fentry_over_bpftrace_6_1"].value == pytest.approx(1.1 / 1.06)
    assert ratios["kernel_cost.range_fentry_over_bpftrace_6_1"].met is True
    assert ratios["kernel_cost.stream_received_6_1"].value == pytest.approx(0.9)
    assert f"kernel_cost.{SHIPPED_STREAM.replace(' ', '_')}_2mb_6_1" in ratios


def test_quick_gives_some_of_the_same_ratios() -> None:
    quick = section({"debian-6.1": notes_of(QUICK)}).ratios
    thorough = section(
        {kernel_name: notes_of(THOROUGH) for kernel_name in kernel_cost.KERNELS}
    ).ratios
    assert quick and set(quick) < set(thorough)


def test_what_the_kernel_would_not_do_is_a_dash() -> None:
    notes = notes_of(THOROUGH)
    notes[NONE]["during"]["1073741824 1"] = times(THOROUGH, 1)[f"{2 * MIB} {PAGES}"]
    tables = section({"debian-6.12": notes}).tables
    assert [one.rows[0][1] for one in tables if "1 GB" in one.title] == ["-"]


def test_growth_is_told_for_each_page() -> None:
    tables = section({"debian-6.1": notes_of(THOROUGH)}).tables
    growth = next(one for one in tables if "growth" in one.title)
    assert growth.rows[0] == (FULL_FENTRY, "100", "100", "100", "200", "200", "200")


def test_a_stream_is_judged_without_its_reader() -> None:
    notes = notes_of(THOROUGH)
    for verb in ("grow", "shrink"):
        notes[SHIPPED_STREAM]["during"][f"{2 * MIB} {PAGES}"][f"{verb}_wall"] = [1e9]
    made = section({"debian-6.1": notes})
    assert made.ratios["kernel_cost.full_fentry_stream_2mb_6_1"].met is True
    rows = {row[0]: row for row in made.tables[0].rows}
    assert rows[BCC][3:5] == ("-", "-")
    assert "-" not in rows[SHIPPED_STREAM]


def test_the_limit_is_what_empty_programs_add() -> None:
    made = section({"debian-6.1": notes_of(THOROUGH)})
    full = made.ratios["kernel_cost.full_fentry_over_empty_6_1"]
    assert full.value == pytest.approx(100 / 80)
    assert full.met is True
    walks = made.ratios["kernel_cost.range_fentry_over_empty_6_1"]
    assert walks.value == pytest.approx(20 / 10)
    assert walks.met is False
    (limit,) = (one for one in made.tables if "the limit" in one.title)
    rows = {row[0]: row[1:] for row in limit.rows}
    assert rows[FULL_FENTRY] == ("100", "80", "1.25", "90", "200", "160", "1.25", "180")
    assert rows["full kprobe"][3::4] == ("-", "-")  # its clock is not measured


def test_a_kernel_that_zeroes_is_told_beside_one_that_does_not() -> None:
    zeroed = notes_of(job_of_zeroed((FULL_FENTRY,)))
    made = section({"debian-6.1": notes_of(THOROUGH)}, {"debian-6.1": zeroed})
    table = made.tables[-1]
    assert [row[:4] for row in table.rows] == [
        ("debian-6.1", f"init_on_alloc={how}", FULL_FENTRY, "1,000") for how in (0, 1)
    ]
    assert str(ZEROED_PAGES) in table.note


def test_a_way_that_one_kernel_has_not_is_a_dash_in_the_docs() -> None:
    jobs = {name: THOROUGH if name != KERNELS[1] else SHORT for name in KERNELS}
    made = section({name: notes_of(job) for name, job in jobs.items()})
    rows = {row[0]: row[1:] for row in made.quoted[0].rows}
    assert [cell == "-" for cell in rows[BCC]] == [False, False, True, True, False, False]
