# SPDX-License-Identifier: Apache-2.0
"""What is made of the guests' notes."""

from typing import Any

import pytest

from probes.geometry import MIB
from tests.bench import kernel_cost
from tests.bench.kernel_cost import (
    FULL_FENTRY,
    PAGES,
    PEERS,
    QUICK,
    RANGE_FENTRY,
    SHIPPED_STREAM,
    THOROUGH,
    section,
)
from tests.bench.kernel_cost_guest import BCC, CLOCKS, NONE, Job

COSTS = {FULL_FENTRY: 1.1, RANGE_FENTRY: 1.02, PEERS[0]: 1.06}


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
