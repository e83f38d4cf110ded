# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: measures, and writes BENCHMARKS.md. ``--quick`` only compares."""

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click

from tests.bench import machine, report
from tests.bench.figures import Section
from tests.bench.in_guest import ROOT

SAVED = Path(__file__).with_name("results.json")
SUBJECTS = ("kernel_cost", "kernel_speed", "simulator", "scrape", "footprint")
"""Each in a module of its name, whose ``measure(quick)`` returns its section."""
THOROUGH_ONLY = ("kernel_speed",)
"""Without a ratio that could get worse: it is exact or fails, as `make test-kernel` is."""
GROSS = 2.0


def say(text: str) -> None:
    """One line for whoever is waiting."""
    click.echo(f"[bench] {text}", err=True)


def measured(names: tuple[str, ...], quick: bool) -> dict[str, Section]:
    """The sections of these subjects."""
    sections = {}
    for name in names:
        say(f"measuring {name} ...")
        began = time.monotonic()
        sections[name] = import_module(f"tests.bench.{name}").measure(quick)
        say(f"{name} took {time.monotonic() - began:.0f} s")
    return sections


def compare(now: report.Results, before: report.Results) -> int:
    """Print each ratio beside the saved one; how many are grossly worse."""
    failed = 0
    for name, ratio in now.ratios.items():
        if known := before.ratios.get(name):
            worse = ratio.worse_than(known)
            failed += worse > GROSS
            verdict = "GROSSLY WORSE" if worse > GROSS else f"{worse:.2f} times as bad"
            beside = f"saved {known.value:9.3g}  {verdict}"
        else:
            beside = "new"
        click.echo(f"{name:44} {ratio.value:9.3g}  {beside}")
    return failed


def merged(before: report.Results, now: report.Results) -> report.Results:
    """``now``, with the sections of ``before`` that were not measured again."""
    left = [name for name in before.sections if name not in now.sections]
    if left and before.machine != now.machine:
        raise click.ClickException(
            f"{', '.join(left)} came from another machine or other versions: measure without --only"
        )
    both = {**before.sections, **now.sections}
    ordered = {name: both[name] for name in SUBJECTS if name in both}
    return replace(now, sections=ordered)


@click.command()
@click.option("--quick", is_flag=True, help="Measure less, and only compare with what is saved.")
@click.option("--only", type=click.Choice(SUBJECTS), multiple=True, help="Measure nothing else.")
@click.option("--print", "reprint", is_flag=True, help="Measure nothing: write the texts again.")
def main(quick: bool, only: tuple[str, ...], reprint: bool) -> None:
    """Measure, save, and write BENCHMARKS.md and the README's quotation."""
    before = report.results_of(json.loads(SAVED.read_text()))
    names = only or tuple(name for name in SUBJECTS if not quick or name not in THOROUGH_ONLY)
    sections = {} if reprint else measured(names, quick)
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    if quick:
        now = report.Results(date, machine.facts(), sections)
        sys.exit(compare(now, before) > 0)
    if sections:
        before = merged(before, report.Results(date, machine.facts(), sections))
        SAVED.write_text(json.dumps(before.as_json(), indent=1) + "\n")
    (ROOT / "BENCHMARKS.md").write_text(report.markdown(before))
    readme = ROOT / "README.md"
    readme.write_text(report.quoted_in(readme.read_text(), before))


if __name__ == "__main__":
    main()
