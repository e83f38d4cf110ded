# SPDX-License-Identifier: Apache-2.0
"""Look, draw, wait for a key, and again: on a terminal, or line by line where there is none."""

from collections.abc import Callable
from dataclasses import replace

import click
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live

from exporter.top import plain, rows
from exporter.top.history import History
from exporter.top.keyboard import Keyboard
from exporter.top.screen import View, draw
from probes.backend import Info
from probes.observation import Observation

Looker = Callable[[], Observation]

_GLANCE_S = 0.25
"""How long a change of the terminal's size may go unseen."""


class _Screen:
    """Something that rich can print: drawn anew for whatever size the terminal has."""

    def __init__(self, history: History, info: Info, view: View) -> None:
        self._parts = history, info, view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.size
        yield Group(*draw(*self._parts, width, height))


def run_screen(
    look: Looker,
    info: Info,
    view: View,
    console: Console,
    keys: Keyboard,
    *,
    clock: Callable[[], float],
    count: int | None = None,
) -> None:
    """Show the screen until ``q``, or until it has looked ``count`` times."""
    history = History(look())
    looks, due, size = 1, clock() + view.interval, console.size
    with Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(_Screen(history, info, view), refresh=True)
        while count is None or looks < count:
            pressed = keys.wait(min(_GLANCE_S, due - clock()))
            if "q" in pressed:
                return
            drawn = looks, view, size
            view, size = press(view, pressed), console.size
            if view.paused:
                due = clock() + view.interval
            elif clock() >= due:
                history.add(look())
                looks, due = looks + 1, due + view.interval
            if drawn != (looks, view, size):
                live.update(_Screen(history, info, view), refresh=True)


def press(view: View, keys: str) -> View:
    """The view after ``keys``; those that mean nothing do nothing."""
    for key in keys:
        if key in ("p", " "):
            view = replace(view, paused=not view.paused)
        elif key == "r":
            view = replace(view, reverse=not view.reverse)
        elif key == "w":
            view = replace(view, minute=not view.minute)
        elif key == "s":
            names = list(rows.SORTS)
            view = replace(view, sort=names[(names.index(view.sort) + 1) % len(names)])
    return view


def run_plain(
    look: Looker,
    info: Info,
    interval: float,
    *,
    keys: Keyboard,
    clock: Callable[[], float],
    count: int | None = None,
) -> None:
    """Print a line for each look, ``count`` of them; the first has no rates yet."""
    history = History(look())
    click.echo(plain.HEADER)
    looks, due = 0, clock()
    while True:
        click.echo(plain.line(history, info))
        looks, due = looks + 1, due + interval
        if count is not None and looks >= count:
            return
        keys.wait(due - clock())
        history.add(look())
