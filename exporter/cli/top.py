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
from exporter.cli.sources import SourceOptions, make_backend
from exporter.cli.stopping import exit_on_output_error
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
    help="Sampling interval.",
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many samples.")
@path_options
def top_command(
    *, interval: float, count: int | None, proc: Path, sys_: Path, **source: Any
) -> None:
    """Show live what HVO saves.

    A screen on a terminal, otherwise one line per sample. - marks values that can't be observed.
    Lines begin with the local time. Keys: q quit, p pause, s sort the pools, r reverse, w latencies
    since the start or of the last minute, ? help, Ctrl-Z suspend.

    \b
    Examples:
      hvoscope top
      hvoscope top --backend sim
      hvoscope top --backend replay --replay.file boot.hvot
      hvoscope top --backend sim --interval 5 --count 12 | tee top.txt
    """
    signal.signal(signal.SIGTERM, _exit)
    # Log lines would break the screen; it shows their content itself, or prints it at the end.
    logging.getLogger("hvoscope").addHandler(logging.NullHandler())
    backend = make_backend(SourceOptions(**source), Host(proc=proc, sys=sys_))
    try:
        with exit_on_output_error():
            with terminal.attach_status():
                problem = _start(backend)
            terminal.show(backend, interval, count, problem)
    finally:
        backend.stop()
    if isinstance(backend, ReplayBackend) and backend.missing:
        click.echo(f"hvoscope: {backend.missing}", err=True)


def _start(backend: Backend) -> str:
    """Attach the probes; return the reason if that fails: pools can be shown without them.

    Raises ``BackendError`` for a recording that can't be played.
    """
    try:
        backend.start()
    except BackendError as error:
        if backend.info.backend != "bcc":
            raise
        return str(error)
    return ""


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit through the context managers, which restore the terminal."""
    sys.exit(EXIT_TERMINATED)
