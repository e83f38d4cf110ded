# SPDX-License-Identifier: Apache-2.0
"""Choose between screen and lines, by what stdout is."""

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import click
from rich.console import Console

from exporter.top.keyboard import keyboard
from exporter.top.screen import View
from exporter.top.session import run_plain, run_screen
from probes.backend import Backend, Info


def attaching() -> AbstractContextManager[object]:
    """Tell on a terminal that compiling and attaching take a while."""
    return Console(stderr=True).status("attaching probes ...")


def show(backend: Backend, interval: float, count: int | None, problem: str) -> None:
    """Show the screen until it is quit, or lines where stdout is no terminal.

    ``problem`` is why nothing is attached, if so. Raises ``OSError`` of the output.
    """
    console, info, look = Console(), backend.info, backend.observe
    with keyboard(sys.stdin.fileno()) as keys:
        if console.is_terminal and not console.is_dumb_terminal:
            view = View(interval, plain=console.options.ascii_only)
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C quits, as everywhere
                run_screen(look, info, view, console, keys, clock=time.monotonic, count=count)
            return
        for line in _about(info):
            click.echo(f"# {line}")
        if problem:
            text = f"hvoscope: no probes, only the kernel's state is shown: {problem}"
            click.echo(text, err=True)
        run_plain(look, info, interval, keys=keys, clock=time.monotonic, count=count)


def _about(info: Info) -> Iterator[str]:
    """What lines of numbers must not be taken for."""
    if info.about:
        yield info.about
    if info.mode == "simulated":
        yield f"SIMULATED kernel {info.kernel}"
