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
from exporter.cli.progress import progress_shown
from exporter.cli.sources import Choice, make_backend
from exporter.cli.stopping import set_by_signals
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
@click.option("--duration", type=Finite(min=0, min_open=True), help="Seconds to record.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
@path_options
def record_command(
    *,
    path: Path,
    duration: float | None,
    count: int | None,
    force: bool,
    proc: Path,
    sys_: Path,
    **choice: Any,
) -> None:
    """Record events to a file, until Ctrl-C or SIGTERM. FILE is - for standard output.

    The file also has, once a second and at its end, all that a scrape would show. Play it with
    hvoscope trace --file FILE, or with --backend replay --replay.file FILE. A recorder that is
    killed leaves a file that is whole up to its last quarter of a second.

    \b
    Exit codes:
      0  recorded, until told to stop
      1  FILE could not take it all; what it holds is whole
      2  wrong usage, or nothing could be recorded

    \b
    Examples:
      hvoscope record boot.hvot
      hvoscope record boot.hvot --duration 60 --force
      hvoscope record - --duration 60 | ssh archive "cat > boot.hvot"
      hvoscope record sim.hvot --backend sim --count 100000
    """
    if path == STANDARD_OUTPUT:
        refuse_terminal("a recording")
    special = path == STANDARD_OUTPUT or (path.exists() and not path.is_file())  # pipe or device
    if path.exists() and not (special or force):
        raise click.ClickException(f"{path} is there already: name another file, or give --force")
    host = Host(proc=proc, sys=sys_)
    backend = make_backend(Choice(**choice), host, stream=True)
    backend.start()
    try:
        with _opened(path, "wb" if special or force else "xb") as file:
            _record(backend, file, host, Limits(duration, count))
    except OSError as error:
        click.echo(f"hvoscope: error: {path}: {error.strerror}: what it holds is whole", err=True)
        raise click.exceptions.Exit(EXIT_FILE_FAILED) from error
    finally:
        backend.stop()


class _StandardOutput(FileIO):
    """What is written there may not be ours alone: nothing is cut off."""

    def truncate(self, _size: int | None = None) -> int:
        raise UnsupportedOperation("standard output is not cut off")


def _opened(path: Path, mode: Literal["wb", "xb"]) -> FileIO:
    if path == STANDARD_OUTPUT:
        return _StandardOutput(1, "wb", closefd=False)
    try:
        return path.open(mode, buffering=0)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def _record(backend: Backend, file: BinaryIO, host: Host, limits: Limits) -> None:
    for probe in backend.observe((PROBES,)).status.probes:
        if not probe.attached:
            click.echo(f"hvoscope: {probe.step} not attached: {probe.reason}", err=True)
    recorder = Recorder(backend, file, make_header(backend, host))
    with set_by_signals() as stop, progress_shown(limits) as show:
        recorder.run(limits, stop, show)
    if lost := recorder.report.lost:
        click.echo(f"hvoscope: {lost} events lost: the recording has gaps", err=True)
