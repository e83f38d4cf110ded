# SPDX-License-Identifier: Apache-2.0
"""Measured figures, the tables they stand in, and the ratios that a later run is held against."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

LESS, MORE = "less", "more"


class InexactError(AssertionError):
    """A count differs from what happened."""


@dataclass(frozen=True)
class Figure:
    """One thing measured over and over: the median is its value, the extremes are its spread."""

    values: tuple[float, ...]
    unit: str = ""
    """What stands behind the number; empty for a ratio or a plain count."""

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.values)

    def over(self, peer: Figure) -> Figure:
        """This one as a multiple of ``peer``: run by run where both were measured in turns."""
        if len(self.values) == len(peer.values):
            pairs = zip(self.values, peer.values, strict=True)
            return Figure(tuple(mine / theirs for mine, theirs in pairs))
        return Figure(tuple(value / peer.median for value in self.values))

    def __str__(self) -> str:
        """Median, and from least to most where they differ in print."""
        said = [_rounded(value) for value in (self.median, min(self.values), max(self.values))]
        spread = f" ({said[1]} to {said[2]})" if len(set(said)) > 1 else ""
        return f"{said[0]}{spread} {self.unit}".rstrip()


def figure(values: Iterable[float], unit: str = "") -> Figure:
    """A figure of these measurements."""
    return Figure(tuple(values), unit)


@dataclass(frozen=True)
class Ratio:
    """What must not get grossly worse, whatever machine measures it; with its goal, if it has."""

    value: float
    better: str = LESS
    goal: float | None = None
    about: str = ""
    """What is divided by what."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.better == LESS else self.value >= self.goal

    def worse_than(self, before: Ratio) -> float:
        """How many times worse than ``before``: 1 is equal, below 1 is better."""
        more, less = (self, before) if self.better == LESS else (before, self)
        return more.value / less.value if less.value else float(more.value > 0) + 1


@dataclass(frozen=True)
class Table:
    """Rows of figures and words; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = ""
) -> Table:
    """A table of anything that prints; what was not measured (None) is a dash."""
    printed = tuple(tuple("-" if cell is None else str(cell) for cell in row) for row in rows)
    assert all(len(row) == len(columns) for row in printed), title
    return Table(title, tuple(columns), printed, note)


@dataclass(frozen=True)
class Section:
    """One subject's results."""

    title: str
    about: str
    """What was done, and beside what."""
    bounds: str
    """What bounds these figures now."""
    tables: tuple[Table, ...]
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    """By a name that stays: ``scrape.p50_over_bare``."""
    quoted: tuple[Table, ...] = ()
    """Tables that docs/overhead.md shows too."""

    def as_json(self) -> dict[str, Any]:
        """For ``section_of``."""
        return asdict(self)


def section_of(saved: Mapping[str, Any]) -> Section:
    """The section that ``as_json`` made this of."""

    def tables(key: str) -> tuple[Table, ...]:
        return tuple(
            table(one["title"], one["columns"], one["rows"], one["note"]) for one in saved[key]
        )

    ratios = {name: Ratio(**ratio) for name, ratio in saved["ratios"].items()}
    words = (saved["title"], saved["about"], saved["bounds"])
    return Section(*words, tables("tables"), ratios, tables("quoted"))


def _rounded(value: float) -> str:
    """Three significant digits, or all of a whole number, with thousands told apart."""
    if value == int(value) or abs(value) >= 1000:
        return f"{round(value):,}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{1 if abs(value) >= 100 else digits}f}"
