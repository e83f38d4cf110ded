# SPDX-License-Identifier: Apache-2.0
"""``hvoscope census``."""

import json
import time
from collections.abc import Iterable, Sequence
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple

import click

from exporter import units
from exporter.cli.options import path_options
from exporter.cli.replace_file import replace_file
from probes.census.census import PoolCensus
from probes.census.facts import CensusError
from probes.geometry import size_label
from probes.kernel.host import Host
from probes.preflight.facts import Facts

_HEADER = ("SIZE", "NODE", "PAGES", "OPTIMIZED", "SAVED", "POSSIBLE")
_ROW = "{:>6} {:>5} {:>9} {:>9} {:>10} {:>10}"


@click.command("census")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the JSON object to a file, at once, for hvoscope serve --census.file.",
)
@path_options
def census_command(*, as_json: bool, output: Path | None, proc: Path, sys_: Path) -> None:
    """Count the huge pages whose vmemmap is optimized now, boot-time pages included.

    Reads the kernel's own lists of huge pages, once. Needs root, or CAP_BPF, CAP_PERFMON and
    CAP_SYSLOG; no daemon, no compiler.

    \b
    Exit codes:
      0  counted; every count adds up with the pools' own
      2  wrong usage, or there can be no census; one line says why

    \b
    Examples:
      hvoscope census
      hvoscope census --json
      hvoscope census --output /run/hvoscope/census.json
    """
    began_ns, taken = time.monotonic_ns(), time.time()
    facts = Facts(Host(proc=proc, sys=sys_))
    if isinstance(facts.census, CensusError):
        raise click.ClickException(f"no census: {facts.census}")
    rows = rows_of(facts.census, PAGESIZE)
    times = Times(began_ns, time.monotonic_ns(), taken)
    if output is not None:
        replace_file(output, to_json(rows, times).encode())
    else:
        click.echo(to_json(rows, times) if as_json else to_table(rows))


class Times(NamedTuple):
    """When a census was taken."""

    began_ns: int
    """CLOCK_MONOTONIC."""
    ended_ns: int
    taken: float
    """Unix time in seconds."""


class Row(NamedTuple):
    """One size on one node; bytes are None where the kernel does not say what a page saves."""

    size: str
    numa_node: int | str
    pages: int
    optimized: int
    saved_bytes: int | None
    possible_bytes: int | None


def rows_of(census: Sequence[PoolCensus], page_size: int) -> list[Row]:
    """Return one row for each size and node that has pages, the smallest size first."""
    rows = []
    for pool in census:
        each = None if pool.net_frames is None else pool.net_frames * page_size
        for node, pages, optimized in pool.nodes:
            amounts = (None if each is None else count * each for count in (optimized, pages))
            rows.append(Row(size_label(page_size << pool.order), node, pages, optimized, *amounts))
    return rows


def to_json(rows: Sequence[Row], times: Times) -> str:
    """``{"began_ns": ..., "pools": [{"size": ..., "numa_node": ..., "pages": ..., ...}]}``."""
    return json.dumps({**times._asdict(), "pools": [row._asdict() for row in rows]})


def to_table(rows: Sequence[Row]) -> str:
    """One line for each size and node, and their sum."""
    total = Row(
        "total",
        "",
        sum(row.pages for row in rows),
        sum(row.optimized for row in rows),
        _sum(row.saved_bytes for row in rows),
        _sum(row.possible_bytes for row in rows),
    )
    lines = (
        _ROW.format(*row[:4], units.memory(row.saved_bytes), units.memory(row.possible_bytes))
        for row in (*rows, total)
    )
    return "\n".join((_ROW.format(*_HEADER), *lines))


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
