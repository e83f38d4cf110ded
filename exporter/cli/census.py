# SPDX-License-Identifier: Apache-2.0
"""``hvoscope census``."""

import json
from collections.abc import Sequence
from mmap import PAGESIZE
from pathlib import Path

import click

from exporter import units
from exporter.cli.options import path_options
from probes.census.census import PoolCensus, take_census
from probes.census.facts import CensusError, facts_of
from probes.geometry import size_label
from probes.kernel.host import Host
from probes.preflight.facts import Facts

_ROW = "{:>6} {:>5} {:>9} {:>9} {:>10} {:>10}"


@click.command("census")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@path_options
def census_command(*, as_json: bool, proc: Path, sys_: Path) -> None:
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
    """
    facts = Facts(Host(proc=proc, sys=sys_))
    if isinstance(facts.symbols, OSError):
        raise click.ClickException(f"no census: {facts.symbols.filename}: {facts.symbols.strerror}")
    try:
        rows = take_census(facts_of(facts.known_btf, facts.symbols), PAGESIZE)
    except CensusError as error:
        raise click.ClickException(f"no census: {error}") from error
    click.echo(to_json(rows, PAGESIZE) if as_json else to_table(rows, PAGESIZE))


def to_json(rows: Sequence[PoolCensus], page_size: int) -> str:
    """``{"pools": [{"size": ..., "numa_node": ..., "pages": ..., "optimized": ..., ...}]}``."""
    pools = [
        {
            "size": size_label(row.size),
            "numa_node": row.node,
            "pages": row.pages,
            "optimized": row.optimized,
            "saved_bytes": row.optimized * row.net_frames * page_size,
            "possible_bytes": row.pages * row.net_frames * page_size,
        }
        for row in rows
    ]
    return json.dumps({"pools": pools})


def to_table(rows: Sequence[PoolCensus], page_size: int) -> str:
    """One line for each size and node, and their sum."""
    lines = [_ROW.format("SIZE", "NODE", "PAGES", "OPTIMIZED", "SAVED", "POSSIBLE")]
    saved = possible = 0
    for row in rows:
        each = row.net_frames * page_size
        saved, possible = saved + row.optimized * each, possible + row.pages * each
        amounts = map(units.memory, (row.optimized * each, row.pages * each))
        lines.append(
            _ROW.format(size_label(row.size), row.node, row.pages, row.optimized, *amounts)
        )
    totals = (sum(row.pages for row in rows), sum(row.optimized for row in rows))
    lines.append(_ROW.format("total", "", *totals, *map(units.memory, (saved, possible))))
    return "\n".join(lines)
