# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and their parsers."""

import math
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from exporter.cli.kernel_option import complete_kernel, generation_of
from exporter.cli.sources import BACKENDS
from probes.backend import FULL, MODES
from probes.bpf.handover import ATTACHES, AUTO
from probes.bpf.program_cache import DEFAULT_FOLDER, SHIPPED_FOLDER
from probes.recording.replay import parse_speed
from sim_backend.kernel.generation import NEWEST


def parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Return an option's callback that parses with ``parse`` and reports its ``ValueError``."""

    def callback(_context: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return tuple(map(parse, value)) if param.multiple else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


STANDARD_INPUT, STANDARD_OUTPUT = Path("/dev/stdin"), Path("/dev/stdout")


def dash_is(standard: Path) -> Callable[..., Path | None]:
    """Return a ``click.Path()`` option's callback: ``-`` means ``standard``, ``./-`` a file."""

    def callback(_context: click.Context, _param: click.Parameter, text: str | None) -> Path | None:
        if text == "-":
            return standard
        return Path(text) if text else None

    return callback


def refuse_terminal(what: str) -> None:
    """Keep binary data off a terminal. Raises ``click.UsageError``."""
    if sys.stdout.isatty():
        raise click.UsageError(f"{what} is binary and standard output is a terminal: redirect it")


class Finite(click.FloatRange):
    """A finite number in a range."""

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Convert as click does, but reject ``inf`` and ``nan``."""
        number: float = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, context)
        return number


def parse_time_scale(text: str) -> float:
    """Parse ``1``, ``60``, ``x60`` or ``max`` (infinite). Raises ``ValueError``."""
    try:
        scale = math.inf if text == "max" else float(text.removeprefix("x"))
    except ValueError:
        scale = 0.0
    if not scale > 0:
        raise ValueError(f"invalid time scale {text!r} (expected a number above 0, or max)")
    return scale


def _scenario(text: str) -> Any:
    """Load a scenario: only then is the simulator imported."""
    return import_module("sim_backend.scenario.file").load(text)


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select the event source."""
    for option in (
        click.option(
            "--sim.time-scale",
            "time_scale",
            callback=parsed(parse_time_scale),
            metavar="N|max",
            default="1",
            show_default=True,
            help="Simulated seconds per second; max: as fast as possible.",
        ),
        click.option(
            "--replay.speed",
            "replay_speed",
            callback=parsed(parse_speed),
            metavar="real|xN|max",
            default="real",
            show_default=True,
            help="Playback speed of a recording: original, N times as fast, or no pauses.",
        ),
        click.option(
            "--replay.file",
            "replay_file",
            type=click.Path(dir_okay=False),
            callback=dash_is(STANDARD_INPUT),
            help="Recording to play, made by hvoscope record; -: standard input.",
        ),
        click.option(
            "--sim.seed",
            "seed",
            type=int,
            help="Random seed of the simulation. [default: the scenario's, or 1]",
        ),
        click.option(
            "--sim.kernel",
            "generation",
            callback=parsed(generation_of),
            shell_complete=complete_kernel,
            metavar="RELEASE",
            help="Kernel release to simulate, such as 6.12, or v17-enabled. "
            f"[default: the scenario's, or {NEWEST}, the newest]",
        ),
        click.option(
            "--sim.scenario",
            "scenario",
            callback=parsed(lambda text: text and _scenario(text)),
            metavar="NAME|FILE",
            help="Scenario to simulate (-: stdin); see hvoscope simulate --list-scenarios. "
            "[default: pools that grow and shrink, endless]",
        ),
        click.option(
            "--probe.cache",
            "cache",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="CACHE_DIRECTORY",  # systemd's, of CacheDirectory=
            default=DEFAULT_FOLDER,
            show_default=True,
            help="Cache of compiled probes; a second start needs no compiler.",
        ),
        click.option(
            "--probe.programs",
            "programs",
            type=click.Path(path_type=Path, file_okay=False),
            default=SHIPPED_FOLDER,
            show_default=True,
            help="Programs that hvoscope compile made elsewhere: with them a host needs no BCC.",
        ),
        click.option(
            "--probe.attach",
            "attach",
            type=click.Choice(ATTACHES),
            default=AUTO,
            show_default=True,
            help="Attach type; auto: fentry where the kernel supports it, else kprobe.",
        ),
        click.option(
            "--probe.mode",
            "mode",
            type=click.Choice(MODES),
            default=FULL,
            show_default=True,
            help="full: a probe on every PTE. range: the same counts at lower cost.",
        ),
        click.option(
            "--backend",
            type=click.Choice(BACKENDS),
            default="bcc",
            show_default=True,
            help="bcc: this machine's kernel, needs root. state: the same kernel without probes. "
            "sim: simulated. replay: a recording.",
        ),
    ):
        command = option(command)
    return command


def path_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the mount points of /proc and /sys, for use in a container."""
    for option in (
        click.option(
            *("--path.sysfs", "sys_"),
            type=click.Path(path_type=Path),
            default="/sys",
            help="sysfs mount point.",
        ),
        click.option(
            "--path.procfs",
            "proc",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            default="/proc",
            help="procfs mount point.",
        ),
    ):
        command = option(command)
    return command
