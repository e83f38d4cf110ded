# SPDX-License-Identifier: Apache-2.0
"""``hvoscope record``."""

from io import FileIO, UnsupportedOperation
from pathlib import Path
from typing import Any, BinaryIO, Literal

import click

from exporter.cli.options import (
    STANDARD_OUTPUT,
    Finite,
    dash_is,
    path_options,
    refuse_terminal,
    source_options,
)
from exporter.cli.progress import progress_display
from exporter.cli.sources import SourceOptions, make_backend
from exporter.cli.stopping import stop_on_signals
from probes.backend import Backend
from probes.kernel.host import Host
from probes.observation import PROBES
from probes.recording.recorder import Limits, Recorder, make_header

EXIT_FILE_FAILED = 1


@click.command("record")
@click.argument(
    "path", metavar="FILE", type=click.Path(dir_okay=False), callback=dash_is(STANDARD_OUTPUT)
)
@source_options
@click.option("-d", "--duration", type=Finite(min=0, min_open=True), help="Seconds to record.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@click.option(
    *("-K", "--stack", "stacks"), is_flag=True, help="Record the kernel stacks of operations, too."
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@path_options
def record_command(
    *,
    path: Path,
    duration: float | None,
    count: int | None,
    stacks: bool,
    force: bool,
    proc: Path,
    sys_: Path,
    **source: Any,
) -> None:
    """Record events to FILE until Ctrl-C or SIGTERM; - is standard output.

    The file also holds an observation of everything a scrape shows, once a second and at the end.
    Play it with hvoscope trace --file FILE, or with --backend replay --replay.file FILE. A killed
    recorder loses at most the last quarter of a second.

    \b
    Exit codes:
      0  stopped by a limit, Ctrl-C or SIGTERM
      1  a write to FILE failed; everything before it is readable
      2  wrong usage, or recording could not start

    \b
    Examples:
      hvoscope record boot.hvot
      hvoscope record boot.hvot --duration 60 --force
      hvoscope record grow.hvot --stack -d 10
      hvoscope record - --duration 60 | ssh archive "cat > boot.hvot"
      hvoscope record sim.hvot --backend sim --count 100000
    """
    if path == STANDARD_OUTPUT:
        refuse_terminal("a recording")
    special = path == STANDARD_OUTPUT or (path.exists() and not path.is_file())  # pipe or device
    if path.exists() and not (special or force):
        raise click.ClickException(f"{path} exists: name another file, or give --force")
    host = Host(proc=proc, sys=sys_)
    backend = make_backend(SourceOptions(**source), host, stream=True, stacks=stacks)
    backend.start()
    try:
        with _opened(path, "wb" if special or force else "xb") as file:
            record(backend, file, host, Limits(duration, count))
    except OSError as error:
        text = f"hvoscope: error: {path}: {error.strerror}: events before this are readable"
        click.echo(text, err=True)
        raise click.exceptions.Exit(EXIT_FILE_FAILED) from error
    finally:
        backend.stop()


class _StandardOutput(FileIO):
    """Standard output as a file that is never truncated: others may write to it, too."""

    def truncate(self, _size: int | None = None) -> int:
        raise UnsupportedOperation("standard output can't be truncated")


def _opened(path: Path, mode: Literal["wb", "xb"]) -> FileIO:
    if path == STANDARD_OUTPUT:
        return _StandardOutput(1, "wb", closefd=False)
    try:
        return path.open(mode, buffering=0)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def record(backend: Backend, file: BinaryIO, host: Host, limits: Limits) -> None:
    """Record to ``file`` until a signal or a limit. Raises ``OSError`` if a write fails."""
    for probe in backend.observe((PROBES,)).status.probes:
        if not probe.attached:
            click.echo(f"hvoscope: {probe.step} not attached: {probe.reason}", err=True)
    with stop_on_signals() as stop, progress_display(limits) as show:
        recorder = Recorder(backend, file, make_header(backend, host))
        recorder.run(limits, stop, show)
    if lost := recorder.report.lost:
        click.echo(f"hvoscope: {lost} events lost: the recording has gaps", err=True)
