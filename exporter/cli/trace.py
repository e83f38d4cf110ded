# SPDX-License-Identifier: Apache-2.0
"""``hvoscope trace``."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import STANDARD_INPUT, Finite, dash_is, source_options
from exporter.cli.selection_options import selection_options
from exporter.cli.sources import SourceOptions, make_backend
from exporter.cli.stopping import exit_on_output_error, stop_on_signals
from exporter.trace import lines as trace
from exporter.trace.possible import ImpossibleError, check_possible
from exporter.trace.selection import Selection
from probes.backend import Backend
from probes.events import Event
from probes.kernel.host import Host
from probes.observation import PROBES
from probes.recording.gaps import GapFinder
from probes.recording.replay import AT_ONCE, ReplayBackend


@click.command("trace")
@source_options
@click.option(
    "--file",
    "file",
    type=click.Path(dir_okay=False),
    callback=dash_is(STANDARD_INPUT),
    help="Print this recording (-: standard input): --backend replay --replay.speed max.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@selection_options
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@click.option("--duration", type=Finite(min=0, min_open=True), help="Stop after this many seconds.")
def trace_command(
    *,
    file: Path | None,
    as_json: bool,
    count: int | None,
    duration: float | None,
    selection: Selection,
    **source: Any,
) -> None:
    """Print events as they happen: a table, or JSON lines.

    Times are the kernel's monotonic clock, as in dmesg. Filters are repeatable: --node 0 --node 1
    selects either. Lost events are reported in the place where they are missing. In JSON, addresses
    are hexadecimal strings.

    \b
    Exit codes:
      0  ended by --count, --duration, Ctrl-C, or a closed pipe (| head)
      1  the output could not be written
      2  wrong usage, a corrupt recording, no probe attached, or a filter that nothing can match

    \b
    Examples:
      hvoscope trace
      hvoscope trace --size 1GB --min-latency 500
      hvoscope trace --failed --json
      hvoscope trace --pte --comm 'kworker*' --count 1000
      hvoscope trace --file boot.hvot --step restore
      hvoscope record - --duration 60 | hvoscope trace --file - --failed
      hvoscope trace --backend sim --count 20
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
    for line in _about(backend):
        click.echo(f"hvoscope: {line}", err=True)
    try:
        with exit_on_output_error(), stop_on_signals() as stop:
            _print_events(backend, as_json, selection, count, _end_condition(stop, duration))
    finally:
        lost = backend.observe((PROBES,)).status.lost
        backend.stop()
        for line in _summary(backend, lost):
            click.echo(f"hvoscope: {line}", err=True)


def _about(backend: Backend) -> Iterator[str]:
    if backend.info.about:
        yield backend.info.about
    if backend.info.mode == "simulated":
        yield "these events are SIMULATED"


def _summary(backend: Backend, lost: Mapping[str, int]) -> Iterator[str]:
    for where, events in lost.items():
        if events:
            yield f"{events} events lost ({where})"
    if isinstance(backend, ReplayBackend) and backend.missing:
        yield backend.missing


def _end_condition(stop: threading.Event, seconds: float | None) -> Callable[[], bool]:
    """Return a function that tells whether to stop."""
    end = float("inf") if seconds is None else time.monotonic() + seconds
    return lambda: stop.is_set() or time.monotonic() >= end


def _print_events(
    backend: Backend,
    as_json: bool,
    selection: Selection,
    count: int | None,
    is_over: Callable[[], bool],
) -> None:
    for probe in backend.observe((PROBES,)).status.probes:
        if not probe.attached:
            click.echo(f"hvoscope: {probe.step} not attached: {probe.reason}", err=True)
    if not as_json:
        click.echo(trace.HEADER)
    to_line = trace.line_format(backend.info, as_json)
    finder = GapFinder()
    for block in backend.records():
        for what in trace.events_and_gaps(block, backend.info, selection, finder):
            sys.stdout.write(f"{to_line(what)}\n")
            if isinstance(what, Event) and count is not None:
                count -= 1
            if count == 0 or is_over():
                break
        sys.stdout.flush()
        if count == 0 or is_over():
            return
