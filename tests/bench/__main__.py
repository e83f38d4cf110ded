# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: measures, and writes BENCHMARKS.md. ``--quick`` only compares."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click

from tests.bench import machine, report
from tests.bench.figures import Section
from tests.bench.in_guest import ROOT
from tests.guests.qemu import GuestError

SAVED = Path(__file__).with_name("results.json")
SUBJECTS = (
    "kernel_cost",
    "kernel_speed",
    "stream",
    "simulator",
    "scrape",
    "footprint",
    "census",
)
"""Each in a module of its name, whose ``measure(quick)`` returns its section."""
THOROUGH_ONLY = ("kernel_speed", "census")
"""Without a ratio that could get worse: the first is exact or fails, as `make test-kernel` is; the
second has no peer."""
GROSS, GROSS_TIME = 2.0, 5.0
"""Times as bad as saved: of instructions, which a guest counts, and of times. Those depend on what
else the machine does, or the machine that it shares, even as ratios."""
COUNTED = "kernel_cost"
"""It counts instructions: measured last, since the machine need not be quiet for it."""


def say(text: str) -> None:
    """Print one line of progress."""
    click.echo(f"[bench] {text}", err=True)


def measured(names: tuple[str, ...], quick: bool) -> Iterator[tuple[str, Section]]:
    """Each subject's section as it is done.

    A guest that dies or stalls ends a thorough run with ``GuestError``. ``quick`` is about ratios
    only: there it says so and goes on.
    """
    for name in names:
        say(f"measuring {name} ...")
        began = time.monotonic()
        try:
            section = import_module(f"tests.bench.{name}").measure(quick)
        except GuestError as error:
            if not quick:
                raise
            say(f"{name} was NOT measured: {str(error).splitlines()[0]}")
            continue
        yield name, section
        say(f"{name} took {time.monotonic() - began:.0f} s")


def compare(now: report.Results, before: report.Results) -> int:
    """Print each ratio beside the saved one; how many are grossly worse."""
    failed = 0
    for name, ratio in now.ratios.items():
        if known := before.ratios.get(name):
            worse = ratio.worse_than(known)
            gross = worse > (GROSS if name.startswith(f"{COUNTED}.") else GROSS_TIME)
            failed += gross
            verdict = "GROSSLY WORSE" if gross else f"{worse:.2f} times as bad"
            beside = f"saved {known.value:9.3g}  {verdict}"
        else:
            beside = "new"
        click.echo(f"{name:44} {ratio.value:9.3g}  {beside}")
    return failed


def merged(before: report.Results, now: report.Results) -> report.Results:
    """``now``, with the sections of ``before`` that were not measured again.

    What the machine has more of by now was installed for a section since.
    """
    left = [name for name in before.sections if name not in now.sections]
    if left and not before.machine.items() <= now.machine.items():
        raise click.ClickException(
            f"{', '.join(left)} came from another machine or other versions: measure without --only"
        )
    both = {**before.sections, **now.sections}
    ordered = {name: both[name] for name in SUBJECTS if name in both}
    return replace(now, sections=ordered)


@click.command()
@click.option("--quick", is_flag=True, help="Measure less, and only compare with what is saved.")
@click.option("--only", type=click.Choice(SUBJECTS), multiple=True, help="Measure nothing else.")
@click.option("--but", type=click.Choice(SUBJECTS), multiple=True, help="Do not measure this.")
@click.option("--print", "reprint", is_flag=True, help="Measure nothing: write the texts again.")
def main(quick: bool, only: tuple[str, ...], but: tuple[str, ...], reprint: bool) -> None:
    """Measure, save, and write BENCHMARKS.md and the tables of docs/overhead.md."""
    saved = report.results_of(json.loads(SAVED.read_text()))
    chosen = only or (name for name in SUBJECTS if not quick or name not in THOROUGH_ONLY)
    names = tuple(sorted((name for name in chosen if name not in but), key=COUNTED.__eq__))
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    if reprint:
        publish(saved)
    elif quick:
        sections = dict(measured(names, quick))
        sys.exit(compare(report.Results(date, machine.facts(), sections), saved) > 0)
    else:
        if not (only or but):
            saved = replace(saved, sections={})
        for name, section in measured(names, quick):
            # Only now: measuring installs what it measures beside.
            saved = merged(saved, report.Results(date, machine.facts(), {name: section}))
            publish(saved)  # so that nothing is lost when a later guest dies


def publish(results: report.Results) -> None:
    """Save, and write the texts."""
    SAVED.write_text(json.dumps(results.as_json(), indent=1) + "\n")
    (ROOT / "BENCHMARKS.md").write_text(report.markdown(results))
    page = ROOT / "docs/overhead.md"
    page.write_text(report.quoted_in(page.read_text(), results))


if __name__ == "__main__":
    main()
