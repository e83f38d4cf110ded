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
from exporter.trace.selection import PTE_STEPS, Selection
from exporter.trace.table import Table
from exporter.trace.times import Clock, UnknownStartError, times_of
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
@click.option(
    *("-t", "elapsed"), is_flag=True, help="Show seconds since the start, of trace or recording."
)
@click.option(*("-T", "wall"), is_flag=True, help="Show the wall clock, in local time.")
@click.option(
    "--wide",
    is_flag=True,
    help="A table of 126 characters, with CPU and address. Implied by PTE events.",
)
@selection_options
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@click.option(
    *("-d", "--duration"),
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after this many seconds.",
)
def trace_command(
    *,
    file: Path | None,
    as_json: bool,
    elapsed: bool,
    wall: bool,
    wide: bool,
    count: int | None,
    duration: float | None,
    selection: Selection,
    **source: Any,
) -> None:
    """Print events as they happen: a table of 100 characters, or JSON lines.

    Times are the kernel's monotonic clock, as in dmesg, unless -t or -T is given. FRAMES are those
    that an operation freed, less those that it allocated. RESULT is 0, an errno, or why a page was
    skipped. Filters are repeatable: --node 0 --node 1 selects either. Lost events are reported in
    the place where they are missing. In JSON, addresses are hexadecimal strings.

    \b
    Exit codes:
      0  ended by --count, --duration, Ctrl-C, or a closed pipe (| head)
      1  the output could not be written
      2  wrong usage, a corrupt recording, no probe attached, or a filter that nothing can match

    \b
    Examples:
      hvoscope trace
      hvoscope trace --size 1GB --min-latency 500
      hvoscope trace -x -T
      hvoscope trace -p 1234 -t -d 10
      hvoscope trace --failed --json
      hvoscope trace --pte --comm 'kworker*' --count 1000
      hvoscope trace --file boot.hvot --step restore
      hvoscope record - --duration 60 | hvoscope trace --file - --failed
      hvoscope trace --backend sim --count 20
    """
    if file is not None:
        source |= {"backend": "replay", "replay_file": file, "replay_speed": AT_ONCE}
    if elapsed and wall:
        raise click.UsageError("give one of -t and -T: they show the time by different clocks")
    clock = Clock.WALL if wall else Clock.ELAPSED if elapsed else Clock.KERNEL
    host = Host()
    backend = make_backend(SourceOptions(**source), host, stream=True)
    backend.start()
    try:
        check_possible(selection, backend, host)
        times = times_of(clock, backend.info)
    except (ImpossibleError, UnknownStartError) as error:
        backend.stop()
        raise click.UsageError(str(error)) from error
    for line in _about(backend):
        click.echo(f"hvoscope: {line}", err=True)
    table = Table(times, backend.info.page_size, wide=wide or _has_ptes(selection))
    try:
        with exit_on_output_error(), stop_on_signals() as stop:
            _report_detached(backend)
            if not as_json:
                click.echo(table.header())
            to_line = trace.json_lines(backend.info, times) if as_json else trace.table_lines(table)
            _print_events(backend, to_line, selection, count, _end_condition(stop, duration))
    finally:
        lost = backend.observe((PROBES,)).status.lost
        backend.stop()
        for line in _summary(backend, lost):
            click.echo(f"hvoscope: {line}", err=True)


def _has_ptes(selection: Selection) -> bool:
    """Tell whether PTE events are selected, of which only the address differs."""
    return bool(PTE_STEPS & set(selection.steps)) or (selection.pte and not selection.steps)


def _about(backend: Backend) -> Iterator[str]:
    if backend.info.about:
        yield backend.info.about
    if backend.info.mode == "simulated":
        yield "these events are SIMULATED"


def _report_detached(backend: Backend) -> None:
    for probe in backend.observe((PROBES,)).status.probes:
        if not probe.attached:
            click.echo(f"hvoscope: {probe.step} not attached: {probe.reason}", err=True)


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
    to_line: trace.Line,
    selection: Selection,
    count: int | None,
    is_over: Callable[[], bool],
) -> None:
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
