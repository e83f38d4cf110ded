# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and how their values are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.sources import BACKENDS
from probes.live.handover import ATTACHES, AUTO
from probes.live.plan import FULL, MODES
from probes.replay import parse_speed
from sim_backend.generation import GENERATIONS


def parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """An option's callback from a function that raises ``ValueError``, whose text it passes on."""

    def callback(_context: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return tuple(map(parse, value)) if param.multiple else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose where events come from, the same for every command that has them."""
    for option in (
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
            type=click.Path(path_type=Path, dir_okay=False),
            help="The recording to play, made by hvoscope record.",
        ),
        click.option(
            "--sim.seed", "seed", default=1, show_default=True, help="Seed of the simulation."
        ),
        click.option(
            "--sim.kernel",
            "generation",
            type=click.Choice(list(GENERATIONS)),
            default="v17-enabled",
            show_default=True,
            help="Kernel generation to simulate.",
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
            "--path.procfs", "proc", type=click.Path(path_type=Path), default="/proc", help="/proc."
        ),
    ):
        command = option(command)
    return command
