# SPDX-License-Identifier: Apache-2.0
"""``hvoscope plan``."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import click

from exporter.cli.options import parsed, path_options
from exporter.savings import explain, report
from exporter.savings.forecast import Demand, savings
from exporter.savings.machine import Given, Subject, described, running
from probes.geometry import EVERY_ARCHITECTURE, parse_size
from probes.kernel.host import Host

MOST_PAGES = 10**9
"""Huge pages of one size: 2 PB of the smallest that can be optimised."""


def _optional_size(text: str | None) -> int | None:
    return None if text is None else parse_size(text)


@click.command("plan")
@click.option(
    "--size",
    "sizes",
    callback=parsed(parse_size),
    metavar="SIZE",
    multiple=True,
    help="Huge page size, as 2MB; may be given many times. Without: the pools of this machine.",
)
@click.option(
    "--count",
    "counts",
    type=click.IntRange(1, MOST_PAGES),
    metavar="PAGES",
    multiple=True,
    help="How many huge pages of each --size, in the same order; one each if left out.",
)
@click.option(
    "--arch",
    "architecture",
    type=click.Choice(list(EVERY_ARCHITECTURE)),
    help="Architecture that --size belongs to; x86-64 if left out.",
)
@click.option(
    "--page-size",
    callback=parsed(_optional_size),
    metavar="SIZE",
    help="Base page of that architecture, as 64K; its usual one if left out.",
)
@click.option(
    "--struct-page",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="sizeof(struct page); this machine's, or 64.",
)
@click.option(
    "--reserved",
    type=click.IntRange(min=1),
    metavar="PAGES",
    help="vmemmap pages that stay: 2 up to Linux 5.17, 1 from 5.18 on.",
)
@click.option("--explain", "explains", is_flag=True, help="Show the arithmetic, step by step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@path_options
def plan_command(
    *,
    sizes: tuple[int, ...],
    counts: tuple[int, ...],
    architecture: str | None,
    page_size: int | None,
    struct_page: int | None,
    reserved: int | None,
    explains: bool,
    as_json: bool,
    proc: Path,
    sys_: Path,
) -> None:
    """Say what HVO will save, before it is on.

    For the huge pages that this machine has now, or for those of --size and --count: frames and
    bytes, less the page tables that it takes, what others measured of allocating and freeing, how
    to switch it on, and what to know before.

    \b
    Examples:
      hvoscope plan
      hvoscope plan --size 2MB --count 100000 --size 1GB --count 16
      hvoscope plan --arch arm64 --page-size 64K --size 512MB --count 1000 --json
      hvoscope plan --explain
    """
    given = Given(architecture, page_size, struct_page, reserved)
    if explains and as_json:
        raise click.UsageError("--explain is for people and --json for programs: choose one")
    try:
        if explains:
            click.echo(explain.to_text(given))
            if not sizes:
                return
            click.echo()
        subject = _subject(given, _demands(sizes, counts), Host(proc=proc, sys=sys_))
        found = savings(subject.geometry, subject.demands)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    click.echo((report.to_json if as_json else report.to_text)(subject, found))


def _subject(given: Given, demands: Sequence[Demand], host: Host) -> Subject:
    if demands:
        return described(given, demands)
    if given.architecture or given.page_size:
        raise click.UsageError(
            "--arch and --page-size describe another machine: give --size and --count too"
        )
    return running(host, os.sysconf("SC_PAGE_SIZE"), given)


def _demands(sizes: Sequence[int], counts: Sequence[int]) -> list[Demand]:
    if counts and not sizes:
        raise click.UsageError("--count needs a --size")
    if counts and len(counts) != len(sizes):
        raise click.UsageError(
            f"--size is given {len(sizes)} times and --count {len(counts)} times: "
            "each --size needs a --count of its own"
        )
    return [
        Demand(size, count) for size, count in itertools.zip_longest(sizes, counts, fillvalue=1)
    ]
