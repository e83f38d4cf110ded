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
from exporter.savings.machine import GeometryOptions, Target, target_from_host, target_from_options
from probes.geometry import EVERY_ARCHITECTURE, parse_size
from probes.kernel.host import Host

MAX_PAGES = 10**9
"""Maximum of --count: 2 PB of the smallest huge pages that can be optimized."""


def _optional_size(text: str | None) -> int | None:
    return None if text is None else parse_size(text)


@click.command("plan")
@click.option(
    "--size",
    "sizes",
    callback=parsed(parse_size),
    metavar="SIZE",
    multiple=True,
    help="Huge page size, like 2MB; repeatable. [default: the pools of this machine]",
)
@click.option(
    "--count",
    "counts",
    type=click.IntRange(1, MAX_PAGES),
    metavar="PAGES",
    multiple=True,
    help="Number of huge pages of each --size, in the same order. [default: 1 each]",
)
@click.option(
    "--arch",
    "architecture",
    type=click.Choice(list(EVERY_ARCHITECTURE)),
    help="Architecture of --size. [default: x86-64]",
)
@click.option(
    "--page-size",
    callback=parsed(_optional_size),
    metavar="SIZE",
    help="Base page size, like 64K. [default: the architecture's usual one]",
)
@click.option(
    "--struct-page",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="sizeof(struct page). [default: this machine's, or 64]",
)
@click.option(
    "--reserved",
    type=click.IntRange(min=1),
    metavar="PAGES",
    help="Reserved vmemmap pages per huge page: 2 up to Linux 5.17, 1 from 5.18 on.",
)
@click.option("--explain", "explains", is_flag=True, help="Show the arithmetic.")
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
    """Calculate what HVO will save, before it is enabled.

    For this machine's current huge pages, or for those of --size and --count: frames and bytes
    saved, less page tables; published timings of allocating and freeing; how to enable HVO; and
    caveats.

    \b
    Examples:
      hvoscope plan
      hvoscope plan --size 2MB --count 100000 --size 1GB --count 16
      hvoscope plan --arch arm64 --page-size 64K --size 512MB --count 1000 --json
      hvoscope plan --explain
    """
    options = GeometryOptions(architecture, page_size, struct_page, reserved)
    if explains and as_json:
        raise click.UsageError("--explain and --json can't be combined")
    try:
        if explains:
            click.echo(explain.to_text(options))
            if not sizes:
                return
            click.echo()
        target = _target(options, _demands(sizes, counts), Host(proc=proc, sys=sys_))
        found = savings(target.geometry, target.demands)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    click.echo((report.to_json if as_json else report.to_text)(target, found))


def _target(options: GeometryOptions, demands: Sequence[Demand], host: Host) -> Target:
    if demands:
        return target_from_options(options, demands)
    if options.architecture or options.page_size:
        raise click.UsageError(
            "--arch and --page-size describe another machine: give --size and --count too"
        )
    return target_from_host(host, os.sysconf("SC_PAGE_SIZE"), options)


def _demands(sizes: Sequence[int], counts: Sequence[int]) -> list[Demand]:
    if counts and not sizes:
        raise click.UsageError("--count needs --size")
    if counts and len(counts) != len(sizes):
        raise click.UsageError(
            f"--size is given {len(sizes)} times and --count {len(counts)} times "
            "(expected one --count for each --size)"
        )
    return [
        Demand(size, count) for size, count in itertools.zip_longest(sizes, counts, fillvalue=1)
    ]
