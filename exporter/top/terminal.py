# SPDX-License-Identifier: Apache-2.0
"""Choose between screen and lines: is stdout a terminal?"""

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


def attach_status() -> AbstractContextManager[object]:
    """Show a spinner on a terminal while probes are compiled and attached."""
    return Console(stderr=True).status("attaching probes ...")


def show(backend: Backend, interval: float, count: int | None, problem: str) -> None:
    """Show the screen until the user quits, or lines if stdout is not a terminal.

    ``problem`` is the reason why no probe is attached, or empty. Raises ``OSError`` of the output.
    """
    console, info, observe = Console(), backend.info, backend.observe
    with keyboard(sys.stdin.fileno()) as keys:
        if console.is_terminal and not console.is_dumb_terminal:
            view = View(interval, plain=console.options.ascii_only)
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C quits, as everywhere
                run_screen(observe, info, view, console, keys, clock=time.monotonic, count=count)
            return
        for line in _about(info):
            click.echo(f"# {line}")
        if problem:
            text = f"hvoscope: no probes attached, showing only the kernel's state: {problem}"
            click.echo(text, err=True)
        run_plain(observe, info, interval, keys=keys, clock=time.monotonic, count=count)


def _about(info: Info) -> Iterator[str]:
    """Yield comment lines that tell the source of the numbers."""
    if info.about:
        yield info.about
    if info.mode == "simulated":
        yield f"SIMULATED kernel {info.kernel}"
