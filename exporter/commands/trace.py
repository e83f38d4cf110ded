# SPDX-License-Identifier: Apache-2.0
"""``hvoscope trace``."""

import os
import sys
from typing import Any

import click

from exporter import trace
from exporter.commands.options import source_options
from exporter.sources import Choice, Source, make_source
from probes.backend import BackendError
from probes.host import Host


@click.command("trace")
@source_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
def trace_command(*, as_json: bool, count: int | None, **choice: Any) -> None:
    """Print every event as it happens: a table, or JSON lines.

    \b
    Examples:
      hvoscope trace
      hvoscope trace --backend sim --count 20 --json
    """
    source = make_source(Choice(**choice), Host(), stream=True)
    if source.backend.info.mode == "simulated":
        click.echo("hvoscope: these events are SIMULATED", err=True)
    try:
        source.backend.start()
    except BackendError as error:
        raise click.ClickException(str(error)) from error
    try:
        _print_events(source, as_json, count)
    except BrokenPipeError:
        # The reader has gone, as with `| head`: no news. Keep Python from flushing into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        source.backend.stop()
        for where, lost in source.backend.status().lost.items():
            if lost:
                click.echo(f"hvoscope: {lost} events lost ({where})", err=True)


def _print_events(source: Source, as_json: bool, count: int | None) -> None:
    for probe in source.backend.status().probes:
        if not probe.attached:
            click.echo(f"hvoscope: {probe.step} not attached: {probe.reason}", err=True)
    if not as_json:
        click.echo(trace.HEADER)
    to_line = trace.line_format(source.backend.info, as_json)
    for event in trace.first_events(source.backend.records(), count):
        click.echo(to_line(event))
