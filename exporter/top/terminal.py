# SPDX-License-Identifier: Apache-2.0
"""Choose between screen and lines, by what stdout is."""

import contextlib
import sys
import time
from contextlib import AbstractContextManager

import click
from rich.console import Console

from exporter.top.keyboard import keyboard
from exporter.top.screen import View
from exporter.top.session import Looker, run_plain, run_screen
from probes.backend import Info


def attaching() -> AbstractContextManager[object]:
    """Tell on a terminal that compiling and attaching take a while."""
    return Console(stderr=True).status("attaching probes ...")


def show(look: Looker, info: Info, interval: float, count: int | None, problem: str) -> None:
    """Show the screen until it is quit, or lines where stdout is no terminal.

    ``problem`` is why nothing is attached, if so. Raises ``BrokenPipeError``.
    """
    console = Console()
    with keyboard(sys.stdin.fileno()) as keys:
        if console.is_terminal and not console.is_dumb_terminal:
            view = View(interval, plain=console.options.ascii_only)
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C quits, as everywhere
                run_screen(look, info, view, console, keys, clock=time.monotonic, count=count)
            return
        if info.mode == "simulated":
            click.echo(f"# SIMULATED kernel {info.kernel}")
        if problem:
            click.echo(
                f"hvoscope: no probes, only the kernel's state is shown: {problem}", err=True
            )
        run_plain(look, info, interval, keys=keys, clock=time.monotonic, count=count)
