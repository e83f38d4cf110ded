# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and how their values are read."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.cli.sources import BACKENDS
from probes.backend import FULL, MODES
from probes.bpf.handover import ATTACHES, AUTO
from probes.bpf.program_cache import DEFAULT_FOLDER
from probes.recording.replay import parse_speed
from sim_backend.kernel.generation import GENERATIONS
from sim_backend.scenario.file import load


def parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """An option's callback from a function that raises ``ValueError``, whose text it passes on."""

    def callback(_context: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return tuple(map(parse, value)) if param.multiple else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


STANDARD_INPUT, STANDARD_OUTPUT = Path("/dev/stdin"), Path("/dev/stdout")


def dash_is(standard: Path) -> Callable[..., Path | None]:
    """A callback of an option of ``click.Path()``: ``-`` is ``standard``, ``./-`` a file."""

    def callback(_context: click.Context, _param: click.Parameter, text: str | None) -> Path | None:
        if text == "-":
            return standard
        return Path(text) if text else None

    return callback


def refuse_terminal(what: str) -> None:
    """Keep binary data off a terminal. Raises ``click.UsageError``."""
    if sys.stdout.isatty():
        raise click.UsageError(f"{what} is binary, and standard output a terminal: redirect it")


class Finite(click.FloatRange):
    """A number in a range, and not infinite or not a number at all."""

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        """As click's, with an error for ``inf`` and ``nan``."""
        number: float = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, context)
        return number


def parse_time_scale(text: str) -> float:
    """Read ``1``, ``60``, ``x60`` or ``max``, which is infinite; ``ValueError`` if it is none."""
    try:
        scale = math.inf if text == "max" else float(text.removeprefix("x"))
    except ValueError:
        scale = 0.0
    if not scale > 0:
        raise ValueError(f"{text!r} is no time scale (write a number above 0, or max)")
    return scale


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose where events come from, the same for every command that has them."""
    for option in (
        click.option(
            "--sim.time-scale",
            "time_scale",
            callback=parsed(parse_time_scale),
            metavar="N|max",
            default="1",
            show_default=True,
            help="Simulated seconds per second; max: as fast as it goes.",
        ),
        click.option(
            "--replay.speed",
            "replay_speed",
            callback=parsed(parse_speed),
            metavar="real|xN|max",
            default="real",
            show_default=True,
            help="How fast a recording plays: as it was, N times as fast, or at once.",
        ),
        click.option(
            "--replay.file",
            "replay_file",
            type=click.Path(dir_okay=False),
            callback=dash_is(STANDARD_INPUT),
            help="The recording to play, made by hvoscope record; -: standard input.",
        ),
        click.option(
            "--sim.seed",
            "seed",
            type=int,
            help="Seed of the simulation. [default: the scenario's, or 1]",
        ),
        click.option(
            "--sim.kernel",
            "generation",
            type=click.Choice(list(GENERATIONS)),
            help="Kernel generation to simulate. [default: the scenario's, or v17-enabled]",
        ),
        click.option(
            "--sim.scenario",
            "scenario",
            callback=parsed(lambda text: text and load(text)),
            metavar="NAME|FILE",
            help="What to simulate, -: standard input; see hvoscope simulate --list-scenarios. "
            "[default: pools that breathe, for ever]",
        ),
        click.option(
            "--probe.cache",
            "cache",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="CACHE_DIRECTORY",  # systemd's, of CacheDirectory=
            default=DEFAULT_FOLDER,
            show_default=True,
            help="Where compiled probes are kept, so that a second start needs no compiler.",
        ),
        click.option(
            "--probe.attach",
            "attach",
            type=click.Choice(ATTACHES),
            default=AUTO,
            show_default=True,
            help="How to attach; auto is fentry where the kernel can.",
        ),
        click.option(
            "--probe.mode",
            "mode",
            type=click.Choice(MODES),
            default=FULL,
            show_default=True,
            help="full: a probe on every PTE. range: the same counts at less cost.",
        ),
        click.option(
            "--backend",
            type=click.Choice(BACKENDS),
            default="bcc",
            show_default=True,
            help="bcc: this machine's kernel, needs root. sim: simulated. replay: a recording.",
        ),
    ):
        command = option(command)
    return command


def path_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose whose /proc and /sys are read, as from inside a container."""
    for option in (
        click.option(
            "--path.sysfs", "sys_", type=click.Path(path_type=Path), default="/sys", help="/sys."
        ),
        click.option(
            "--path.procfs",
            "proc",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            default="/proc",
            help="/proc.",
        ),
    ):
        command = option(command)
    return command
