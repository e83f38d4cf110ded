# SPDX-License-Identifier: Apache-2.0
"""``hvoscope top``."""

import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from exporter.cli.options import Finite, path_options, source_options
from exporter.cli.sources import Choice, make_backend
from exporter.cli.stopping import lost_output_ends
from exporter.top import terminal
from probes.backend import Backend, BackendError
from probes.kernel.host import Host
from probes.recording.replay import ReplayBackend

EXIT_TERMINATED = 128 + signal.SIGTERM


@click.command("top")
@source_options
@click.option(
    "--interval",
    type=Finite(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time from look to look.",
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many looks.")
@path_options
def top_command(
    *, interval: float, count: int | None, proc: Path, sys_: Path, **choice: Any
) -> None:
    """Watch what HVO saves, live.

    A screen, or a line for each look where there is no terminal. What can't be observed is -.
    Keys: q quit, p pause, s sort the pools, r reverse, w latencies of all time or of the last
    minute.

    \b
    Examples:
      hvoscope top
      hvoscope top --backend sim
      hvoscope top --backend replay --replay.file boot.hvot
      hvoscope top --backend sim --interval 5 --count 12 | tee top.txt
    """
    signal.signal(signal.SIGTERM, _end)
    # A line of a log would tear the screen; what it says is on it, or said in the end.
    logging.getLogger("hvoscope").addHandler(logging.NullHandler())
    backend = make_backend(Choice(**choice), Host(proc=proc, sys=sys_))
    try:
        with lost_output_ends():
            with terminal.attaching():
                problem = _start(backend)
            terminal.show(backend, interval, count, problem)
    finally:
        backend.stop()
    if isinstance(backend, ReplayBackend) and backend.missing:
        click.echo(f"hvoscope: {backend.missing}", err=True)


def _start(backend: Backend) -> str:
    """Attach; where that can't be done, the pools are still worth a look. Returns why not.

    Raises ``BackendError`` for a recording that can't be played.
    """
    try:
        backend.start()
    except BackendError as error:
        if backend.info.backend != "bcc":
            raise
        return str(error)
    return ""


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Leave as the keys do, so that the terminal is itself again."""
    sys.exit(EXIT_TERMINATED)
