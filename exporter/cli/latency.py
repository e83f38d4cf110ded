# SPDX-License-Identifier: Apache-2.0
"""``hvoscope latency``."""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import STANDARD_INPUT, Finite, dash_is, source_options
from exporter.cli.selection_options import selection_options
from exporter.cli.sources import SourceOptions, make_backend
from exporter.cli.stopping import exit_on_output_error, stop_on_signals
from exporter.cli.stream_notes import about, end_condition, stop_and_report, until
from exporter.trace.latency import Latencies
from exporter.trace.possible import ImpossibleError, check_possible
from exporter.trace.selection import Selection
from probes.backend import Backend
from probes.kernel.host import Host
from probes.recording.replay import AT_ONCE


@click.command("latency")
@source_options
@click.option(
    "--file",
    "file",
    type=click.Path(dir_okay=False),
    callback=dash_is(STANDARD_INPUT),
    help="Summarize this recording (-: standard input).",
)
@selection_options(pte=False)
@click.option(
    *("-d", "--duration"),
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after this many seconds.",
)
@click.option(
    *("-i", "--interval"),
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    help="Print every so many seconds, and begin again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def latency_command(
    *,
    file: Path | None,
    duration: float | None,
    interval: float | None,
    as_json: bool,
    selection: Selection,
    **source: Any,
) -> None:
    """Print histograms of latencies, and which process caused how much work.

    Counts until Ctrl-C, --duration or the end of a recording, by operation (optimize, restore,
    batch) and huge page size. Calls that had nothing to do are not timed. A process is the task in
    which the kernel ran: TIME is that of its optimizations and restores, without batches around
    them.

    \b
    Examples:
      hvoscope latency
      hvoscope latency -d 10 --size 2MB
      hvoscope latency -p 1234 -i 5
      hvoscope latency --file boot.hvot
      hvoscope latency --backend sim --sim.time-scale max -d 2 --json
    """
    if file is not None:
        source |= {"backend": "replay", "replay_file": file, "replay_speed": AT_ONCE}
    host = Host()
    backend = make_backend(SourceOptions(**source), host, stream=True)
    backend.start()
    try:
        check_possible(selection, backend, host)
    except ImpossibleError as error:
        backend.stop()
        raise click.UsageError(str(error)) from error
    for note in about(backend):
        click.echo(f"hvoscope: {note}", err=True)
    try:
        with exit_on_output_error(), stop_on_signals() as stop:
            for found in _intervals(backend, selection, interval, end_condition(stop, duration)):
                if interval is not None and not as_json:
                    click.echo(f"{datetime.now().astimezone():%H:%M:%S}")
                click.echo(found.to_json() if as_json else "\n".join(found.lines()))
                sys.stdout.flush()
    finally:
        for note in stop_and_report(backend):
            click.echo(f"hvoscope: {note}", err=True)


def _intervals(
    backend: Backend, selection: Selection, interval: float | None, is_over: Callable[[], bool]
) -> Iterator[Latencies]:
    """Yield what was counted in each interval, and at the end."""
    page_size = backend.info.page_size
    found = Latencies(page_size)
    due = float("inf") if interval is None else time.monotonic() + interval
    for block in until(backend.records(), is_over):
        found.add(event for _, event in selection.of(block, page_size))
        if interval is not None and time.monotonic() >= due and not is_over():
            yield found
            found, due = Latencies(page_size), due + interval
    yield found
