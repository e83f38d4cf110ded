# SPDX-License-Identifier: Apache-2.0
"""Progress of a recording, on terminals only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from probes.recording.recorder import Limits, Report

ShowReport = Callable[[Report], object]


@contextmanager
def progress_display(limits: Limits, console: Console | None = None) -> Iterator[ShowReport]:
    """Yield a function that shows a report: a bar towards the limit, or a spinner without one."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda _report: None
        return
    total = limits.events or limits.seconds
    bar = Progress(
        SpinnerColumn() if total is None else BarColumn(30),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
    )
    task = bar.add_task("", total=total)

    def show(report: Report) -> None:
        done = report.events if limits.events else report.seconds
        bar.update(task, completed=done, description=line(report))

    with bar:
        yield show


def line(report: Report) -> str:
    """Return one line: events, rate, size, lost events."""
    rate = report.events / report.seconds if report.seconds else 0
    lost = f"[red]{report.lost:,} lost[/red]" if report.lost else "none lost"
    return f"{report.events:,} events ({rate:,.0f}/s), {decimal(report.bytes)}, {lost}"
