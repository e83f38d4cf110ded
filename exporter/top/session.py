# SPDX-License-Identifier: Apache-2.0
"""Sampling loops: a screen on a terminal, otherwise one line per sample."""

from collections.abc import Callable
from dataclasses import replace

import click
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live

from exporter.top import plain, rows
from exporter.top.history import History
from exporter.top.keyboard import SUSPEND, Keyboard
from exporter.top.screen import View, draw
from probes.backend import Info
from probes.observation import Observation

Observe = Callable[[], Observation]

_RESIZE_POLL_SECONDS = 0.25
"""Interval of checking the terminal's size."""


class _Screen:
    """A rich renderable that draws the screen at the terminal's current size."""

    def __init__(self, history: History, info: Info, view: View) -> None:
        self._parts = history, info, view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.size
        yield Group(*draw(*self._parts, width, height))


def run_screen(
    observe: Observe,
    info: Info,
    view: View,
    console: Console,
    keys: Keyboard,
    *,
    clock: Callable[[], float],
    count: int | None = None,
) -> None:
    """Show the screen until ``q``, or for ``count`` samples."""
    history = History(observe())
    samples, due, size = 1, clock() + view.interval, console.size
    with Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(_Screen(history, info, view), refresh=True)
        while count is None or samples < count:
            pressed = keys.wait(min(_RESIZE_POLL_SECONDS, due - clock()))
            if "q" in pressed:
                return
            if SUSPEND in pressed:
                live.stop()
                keys.suspend()
                due = clock()
                live.start(refresh=True)
            drawn = samples, view, size
            view, size = press(view, pressed), console.size
            if view.paused:
                due = clock() + view.interval
            elif clock() >= due:
                history.add(observe())
                samples, due = samples + 1, due + view.interval
            if drawn != (samples, view, size):
                live.update(_Screen(history, info, view), refresh=True)


def press(view: View, keys: str) -> View:
    """Return the view after ``keys``; unknown keys are ignored."""
    for key in keys:
        if key in ("p", " "):
            view = replace(view, paused=not view.paused)
        elif key == "r":
            view = replace(view, reverse=not view.reverse)
        elif key in ("?", "h"):
            view = replace(view, help=not view.help)
        elif key == "w":
            view = replace(view, minute=not view.minute)
        elif key == "s":
            names = list(rows.SORTS)
            view = replace(view, sort=names[(names.index(view.sort) + 1) % len(names)])
    return view


def run_plain(
    observe: Observe,
    info: Info,
    interval: float,
    *,
    keys: Keyboard,
    clock: Callable[[], float],
    count: int | None = None,
) -> None:
    """Print one line per sample, ``count`` of them; the first has no rates yet."""
    history = History(observe())
    click.echo(plain.HEADER)
    samples, due = 0, clock()
    while True:
        click.echo(plain.line(history, info))
        samples, due = samples + 1, due + interval
        if count is not None and samples >= count:
            return
        keys.wait(due - clock())
        history.add(observe())
