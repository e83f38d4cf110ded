# SPDX-License-Identifier: Apache-2.0
"""Options of ``hvoscope trace`` that choose the format of its output."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from exporter.trace.chrome import ChromeTrace
from exporter.trace.json_lines import CsvRows, JsonLines, Record
from exporter.trace.output import Output
from exporter.trace.selection import PTE_STEPS, Selection
from exporter.trace.stacks import Folded, WithStacks, calls, microseconds
from exporter.trace.table import Table
from exporter.trace.times import Clock, times_of
from probes.backend import Backend
from probes.events import Event

_FORMATS = ("json", "csv", "chrome")
_WEIGHTS: Mapping[str, Callable[[Event], int]] = {"calls": calls, "us": microseconds}


@dataclass(frozen=True)
class Format:
    """What the options chose."""

    name: str
    """One of ``_FORMATS``, ``table``, or the weight of folded stacks."""
    clock: Clock
    wide: bool
    stacks: bool


def format_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command receives ``chosen``."""

    @functools.wraps(command)
    def with_format(
        *, elapsed: bool, wall: bool, wide: bool, stacks: bool, folded: str | None, **options: Any
    ) -> None:
        given = [name for name in _FORMATS if options.pop(name)]
        given += ["folded"] if folded else []
        if len(given) > 1:
            raise click.UsageError(f"give one of {' and '.join(f'--{name}' for name in given)}")
        if elapsed and wall:
            raise click.UsageError("give one of -t and -T: they show the time by different clocks")
        clock = Clock.WALL if wall else Clock.ELAPSED if elapsed else Clock.KERNEL
        name = folded or (given[0] if given else "table")
        chosen = Format(name, clock, wide, stacks or folded is not None)
        command(chosen=chosen, **options)

    wrapped: Callable[..., None] = with_format
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_OPTIONS = (
    click.option("--json", is_flag=True, help="One JSON object per line."),
    click.option("--csv", is_flag=True, help="Comma-separated values, with a header."),
    click.option(
        "--chrome",
        is_flag=True,
        help="Chrome's trace JSON, for ui.perfetto.dev: operations and counters.",
    ),
    click.option(
        *("-K", "--stack", "stacks"),
        is_flag=True,
        help="Show the kernel stack in which an operation began, below its exit.",
    ),
    click.option(
        "--folded",
        is_flag=False,
        flag_value="calls",
        type=click.Choice(list(_WEIGHTS)),
        help="Print kernel stacks for a flame graph at the end: operations (default) or their "
        "microseconds per stack.",
    ),
    click.option(
        *("-t", "elapsed"), is_flag=True, help="Show seconds since the start of trace or recording."
    ),
    click.option(*("-T", "wall"), is_flag=True, help="Show the wall clock, in local time."),
    click.option(
        "--wide",
        is_flag=True,
        help="A table of 126 characters, with CPU and address. Implied by PTE events.",
    ),
)


def make_output(chosen: Format, backend: Backend, selection: Selection) -> Output:
    """Make the chosen output of a started backend. Raises ``UnknownStartError``."""
    info, times = backend.info, times_of(chosen.clock, backend.info)

    def frames_of(event: Event) -> tuple[str, ...]:
        return backend.stack(event.stack) if event.stack else ()

    if chosen.name in _WEIGHTS:
        return Folded(frames_of, _WEIGHTS[chosen.name])
    stacks = frames_of if chosen.stacks else None
    if chosen.name == "chrome":
        return ChromeTrace(info, stacks)
    if chosen.name in ("json", "csv"):
        record = Record(info, times, stacks)
        return JsonLines(record) if chosen.name == "json" else CsvRows(record)
    table = Table(times, info.page_size, wide=chosen.wide or _has_ptes(selection))
    return WithStacks(table, stacks) if stacks else table


def _has_ptes(selection: Selection) -> bool:
    """Tell whether PTE events are selected, of which only the address differs."""
    return bool(PTE_STEPS & set(selection.steps)) or (selection.pte and not selection.steps)
