# SPDX-License-Identifier: Apache-2.0
"""Output of ``hvoscope verify``: TAP, one JSON object, or lines for people with progress."""

import sys
from collections.abc import Sequence
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from exporter.verify import summary, tap
from exporter.verify.machine import Machine
from exporter.verify.points import Point
from exporter.verify.run import ACCOUNTS


class Output(Protocol):
    """What a run tells."""

    def begin(self, machine: Machine, points: int, about: Sequence[str]) -> None:
        """Say what will be done, in the lines ``about``."""

    def point(self, point: Point) -> None:
        """Show one point."""

    def end(self, points: Sequence[Point], stopped: str) -> None:
        """Say how it ended; ``stopped`` is why it ended early."""

    def skip_all(self, reason: str) -> None:
        """Say why nothing is done."""

    def say(self, line: str) -> None:
        """Say something else."""


def make_output(name: str | None) -> Output:
    """TAP, JSON, or lines for people: by name, else by what standard output is."""
    if name == "json":
        return _Json()
    if name is None and sys.stdout.isatty():
        return _Lines()
    return _Tap()


class _Tap:
    def __init__(self) -> None:
        self._number = 0

    def begin(self, machine: Machine, points: int, about: Sequence[str]) -> None:
        _echo(*tap.header(points, (f"hvoscope verify, kernel {machine.name}", *about)))

    def point(self, point: Point) -> None:
        self._number += 1
        _echo(*tap.of_point(self._number, point))

    def end(self, points: Sequence[Point], stopped: str) -> None:
        if stopped:
            _echo(tap.bail_out(stopped))
        _echo(tap.totals(points))

    def skip_all(self, reason: str) -> None:
        _echo(tap.skip_all(reason))

    def say(self, line: str) -> None:
        _echo(*tap.comments([line]))


class _Json:
    def __init__(self) -> None:
        self._kernel = ""

    def begin(self, machine: Machine, points: int, about: Sequence[str]) -> None:
        self._kernel = machine.name

    def point(self, point: Point) -> None:
        pass

    def end(self, points: Sequence[Point], stopped: str) -> None:
        _echo(summary.to_json(self._kernel, points, stopped=stopped, skipped=""))

    def skip_all(self, reason: str) -> None:
        _echo(summary.to_json(self._kernel, (), stopped="", skipped=reason))

    def say(self, line: str) -> None:
        click.echo(line, err=True)


class _Lines:
    """A line for each case, and on standard error a bar while it lasts."""

    def __init__(self) -> None:
        self._case: list[Point] = []
        self._bar: Progress | None = None

    def begin(self, machine: Machine, points: int, about: Sequence[str]) -> None:
        click.echo(f"Kernel {machine.name}")
        for line in about:
            click.echo(f"  {line}")
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                BarColumn(30),
                TextColumn("{task.completed} of {task.total} accounts"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._bar.add_task("", total=points)
            self._bar.start()

    def point(self, point: Point) -> None:
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        if self._case and self._case[0].case != point.case:
            self._show_case()
        self._case.append(point)
        if len(self._case) == len(ACCOUNTS):
            self._show_case()

    def end(self, points: Sequence[Point], stopped: str) -> None:
        self._show_case()
        if self._bar is not None:
            self._bar.stop()
        click.echo(f"Stopped: {stopped}" if stopped else summary.result(points))

    def skip_all(self, reason: str) -> None:
        click.echo(f"Skipped: {reason}")

    def say(self, line: str) -> None:
        click.echo(line)

    def _show_case(self) -> None:
        if self._case:
            for line in summary.of_case(self._case):
                click.echo(line)
        self._case = []


def _echo(*lines: str) -> None:
    for line in lines:
        click.echo(line)
    sys.stdout.flush()
