# SPDX-License-Identifier: Apache-2.0
"""What is published is what was measured."""

import json
from dataclasses import replace

import click
import pytest

from tests.bench import report
from tests.bench.__main__ import SAVED, SUBJECTS, compare, merged
from tests.bench.figures import LESS, MORE, Ratio, Section, figure, table
from tests.bench.in_guest import ROOT

MACHINE = {"kernel": "Linux"}


def results(**ratios: Ratio) -> report.Results:
    rows = table("cost", ["what", "time"], [["none", figure([1, 2, 4], "s")], ["all", None]])
    section = Section("Title", "about", "nothing", (rows,), ratios, (rows,))
    return report.Results("2026-11-25", MACHINE, {"simulator": section})


@pytest.fixture
def published() -> report.Results:
    return report.results_of(json.loads(SAVED.read_text()))


def test_the_texts_are_made_of_the_saved_results(published: report.Results) -> None:
    assert (ROOT / "BENCHMARKS.md").read_text() == report.markdown(published)
    page = (ROOT / "docs/overhead.md").read_text()
    assert report.quoted_in(page, published) == page


def test_every_subject_is_published(published: report.Results) -> None:
    assert tuple(published.sections) == SUBJECTS


def test_saved_results_come_back_as_they_were() -> None:
    made = results(cost=Ratio(1.5, LESS, 2.0, "all over none"))
    assert report.results_of(json.loads(json.dumps(made.as_json()))) == made


def test_figures_show_their_spread() -> None:
    assert str(figure([1.0, 2.0, 4.0], "s")) == "2 (1 to 4) s"
    assert str(figure([0.1234, 0.1233])) == "0.123"
    assert str(figure([1234567.8], "events/s")) == "1,234,568 events/s"


def test_a_ratio_of_figures_goes_run_by_run() -> None:
    assert figure([2.0, 9.0, 4.0]).over(figure([1.0, 3.0, 4.0])).values == (2.0, 3.0, 1.0)
    assert figure([2.0, 4.0]).over(figure([1.0, 2.0, 3.0])).values == (1.0, 2.0)


GROSS = [
    *(("kernel_cost.full", *case) for case in ((LESS, 2.1, 1), (LESS, 1.9, 0), (MORE, 0.4, 1))),
    *(("scrape.p50", *case) for case in ((LESS, 5.1, 1), (LESS, 4.9, 0), (MORE, 0.19, 1))),
    ("scrape.p50", MORE, 9, 0),
]


@pytest.mark.parametrize(("name", "better", "value", "failures"), GROSS)
def test_only_gross_regressions_fail(name: str, better: str, value: float, failures: int) -> None:
    before = results(**{name: Ratio(1.0, better)})
    assert compare(results(**{name: Ratio(value, better)}, new=Ratio(99)), before) == failures


def test_goals_are_met_or_not() -> None:
    text = report.markdown(results(a=Ratio(1.1, LESS, 1.08, "x"), b=Ratio(3, MORE, 2, "y")))
    assert "| x | 1.1 | at most 1.08 | **no** |" in text
    assert "| y | 3 | at least 2 | yes |" in text


def test_the_quotation_replaces_only_itself() -> None:
    page = f"before\n{report.BEGIN}old{report.END}\nafter\n"
    assert report.quoted_in(page, results()).startswith(f"before\n{report.BEGIN}\n\n**cost**")
    assert report.quoted_in(page, results()).endswith(f"{report.END}\nafter\n")


def test_sections_are_kept_while_the_machine_is_the_same() -> None:
    before = results()
    section = before.sections["simulator"]
    installed = {**MACHINE, "node_exporter": "1.5.0"}
    now = report.Results("2026-11-26", installed, {"scrape": section})
    assert list(merged(before, now).sections) == ["simulator", "scrape"]
    with pytest.raises(click.ClickException, match="simulator came from another machine"):
        merged(before, replace(now, machine={"kernel": "another"}))
