# SPDX-License-Identifier: Apache-2.0
"""Options that select events, parsed into a ``Selection``."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from exporter.cli.options import Finite, parsed
from exporter.trace.selection import Selection
from probes.backend import STEPS
from probes.geometry import parse_size


def selection_options(*, pte: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options; the command receives ``selection``.

    With ``pte``, events of single PTEs can be selected.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_selection(*, min_latency_us: float, **options: Any) -> None:
            chosen = {f.name: options.pop(f.name) for f in fields(Selection) if f.name in options}
            chosen.setdefault("pte", False)
            selection = Selection(**chosen, min_latency_ns=round(min_latency_us * 1000))
            command(selection=selection, **options)

        wrapped: Callable[..., None] = with_selection
        for option in reversed((_PTE, *_OPTIONS) if pte else _OPTIONS):
            wrapped = option(wrapped)
        return wrapped

    return add


_PTE = click.option("--pte", is_flag=True, help="Also print PTE events.")


_OPTIONS = (
    click.option(
        *("--step", "steps"),
        type=click.Choice(STEPS),
        multiple=True,
        help="Only events of this step of the kernel's path.",
    ),
    click.option(
        *("--size", "sizes"),
        callback=parsed(parse_size),
        metavar="SIZE",
        multiple=True,
        help="Only huge pages of this size, like 2MB.",
    ),
    click.option(
        *("--node", "nodes"),
        type=click.IntRange(min=0),
        multiple=True,
        help="Only huge pages of this NUMA node.",
    ),
    click.option(
        *("-p", "--pid", "pids"),
        type=click.IntRange(min=0),
        multiple=True,
        help="Only this process or thread ID.",
    ),
    click.option(
        *("-n", "--comm", "comms"),
        metavar="NAME",
        multiple=True,
        help="Only tasks of this name (comm), or matching a pattern like 'kworker*'.",
    ),
    click.option(*("-x", "--failed"), is_flag=True, help="Only failures: exits with an error."),
    click.option(
        *("--min-latency", "min_latency_us"),
        type=Finite(min=0),
        default=0,
        metavar="US",
        help="Only exits of calls that took at least this many microseconds.",
    ),
)
