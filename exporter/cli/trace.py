# SPDX-License-Identifier: Apache-2.0
"""``hvoscope trace``."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import STANDARD_INPUT, Finite, dash_is, source_options
from exporter.cli.selection_options import selection_options
from exporter.cli.sources import SourceOptions, make_backend
from exporter.cli.stopping import exit_on_output_error, stop_on_signals
from exporter.cli.stream_notes import about, end_condition, stop_and_report, until
from exporter.cli.trace_output import Format, format_options, make_output
from exporter.trace.output import Output, events_and_gaps
from exporter.trace.possible import ImpossibleError, check_possible
from exporter.trace.selection import Selection
from exporter.trace.times import UnknownStartError
from probes.backend import Backend
from probes.events import Event
from probes.kernel.host import Host
from probes.observation import MEMMAP, POOLS
from probes.recording.gaps import GapFinder
from probes.recording.replay import AT_ONCE

_OBSERVE_NS = 10**9


@click.command("trace")
@source_options
@click.option(
    "--file",
    "file",
    type=click.Path(dir_okay=False),
    callback=dash_is(STANDARD_INPUT),
    help="Print this recording (-: standard input): --backend replay --replay.speed max.",
)
@format_options
@selection_options(pte=True)
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
    chosen: Format,
    count: int | None,
    duration: float | None,
    selection: Selection,
    **source: Any,
) -> None:
    """Print events as they happen: a table of 100 characters, JSON, CSV, or a Chrome trace.

    Times are the kernel's monotonic clock, as in dmesg, unless -t or -T is given. FRAMES are those
    that an operation freed, less those that it allocated. RESULT is 0, an errno, or why a page was
    skipped. Filters are repeatable: --node 0 --node 1 selects either. Lost events are reported in
    the place where they are missing. In JSON and CSV, addresses are hexadecimal strings.

    \b
    Exit codes:
      0  ended by --count, --duration, Ctrl-C, or a closed pipe (| head)
      1  the output could not be written
      2  wrong usage, a corrupt recording, no probe attached, or a filter that nothing can match

    \b
    Examples:
      hvoscope trace
      hvoscope trace -x -T
      hvoscope trace -p 1234 -t -d 10
      hvoscope trace -K -d 10
      hvoscope trace --folded us -d 10 | flamegraph.pl > hvo.svg
      hvoscope trace --size 1GB --min-latency 500
      hvoscope trace --pte --comm 'kworker*' --count 1000
      hvoscope trace --file boot.hvot --step restore
      hvoscope trace --file boot.hvot --chrome > boot.json
      hvoscope record - --duration 60 | hvoscope trace --file - --failed --json
      hvoscope trace --backend sim --count 20
    """
    if file is not None:
        source |= {"backend": "replay", "replay_file": file, "replay_speed": AT_ONCE}
    host = Host()
    backend = make_backend(SourceOptions(**source), host, stream=True, stacks=chosen.stacks)
    backend.start()
    try:
        check_possible(selection, backend, host)
        output = make_output(chosen, backend, selection)
    except (ImpossibleError, UnknownStartError) as error:
        backend.stop()
        raise click.UsageError(str(error)) from error
    for note in about(backend):
        click.echo(f"hvoscope: {note}", err=True)
    try:
        with exit_on_output_error(), stop_on_signals() as stop:
            is_over = end_condition(stop, duration)
            for line in _lines(backend, output, selection, count, is_over):
                if line is None:
                    sys.stdout.flush()
                else:
                    sys.stdout.write(f"{line}\n")
    finally:
        for note in stop_and_report(backend):
            click.echo(f"hvoscope: {note}", err=True)


def _lines(
    backend: Backend,
    output: Output,
    selection: Selection,
    count: int | None,
    is_over: Callable[[], bool],
) -> Iterator[str | None]:
    """Yield all lines, and None after each block of events: time to flush."""
    yield from output.head()
    finder, left = GapFinder(), count
    observed_ns = -_OBSERVE_NS
    for block in until(backend.records(), is_over):
        for what in events_and_gaps(block, backend.info.page_size, selection, finder):
            if isinstance(what, Event):
                yield from output.event(what)
                left = None if left is None else left - 1
            else:
                yield from output.gap(what)
            if left == 0:
                break
        if output.observes:
            seen = backend.observe((POOLS, MEMMAP))
            if seen.time_ns >= observed_ns + _OBSERVE_NS:
                observed_ns = seen.time_ns
                yield from output.observed(seen)
        yield None
        if left == 0:
            break
    if output.observes:
        yield from output.observed(backend.observe((POOLS, MEMMAP)))
    yield from output.tail()
