# SPDX-License-Identifier: Apache-2.0
"""Write BENCHMARKS.md and the tables of docs/overhead.md from saved results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from tests.bench.figures import Ratio, Section, Table, section_of

WIDTH = 100
BEGIN, END = "<!-- made by make bench: begin -->", "<!-- made by make bench: end -->"


@dataclass(frozen=True)
class Results:
    """One run of everything."""

    date: str
    machine: Mapping[str, str]
    sections: Mapping[str, Section]

    def as_json(self) -> dict[str, Any]:
        """For ``results_of``."""
        sections = {name: section.as_json() for name, section in self.sections.items()}
        return {**vars(self), "machine": dict(self.machine), "sections": sections}

    @property
    def ratios(self) -> dict[str, Ratio]:
        """Of all sections."""
        return {k: ratio for s in self.sections.values() for k, ratio in s.ratios.items()}


def results_of(saved: Mapping[str, Any]) -> Results:
    """The results that ``as_json`` made this of."""
    sections = {name: section_of(section) for name, section in saved["sections"].items()}
    return Results(saved["date"], saved["machine"], sections)


def markdown(results: Results) -> str:
    """The text of BENCHMARKS.md."""
    parts = [
        "# Benchmarks",
        _filled(
            "Made by `make bench`: figures, tables and this text. A figure is the median of several"
            " runs, with the least and the most in brackets. `make bench ONLY=NAME` measures one"
            " section again. `make bench-quick` measures less of everything and fails where a ratio"
            " got twice as bad, of times five times."
        ),
        f"Measured on {results.date}:",
        "\n".join(f"- {name}: {value}" for name, value in results.machine.items()),
        "## Goals",
        _markdown_table(_goals(results.ratios)),
    ]
    for name, section in results.sections.items():
        parts += [f"## {section.title}", f"`make bench ONLY={name}`", _filled(section.about)]
        parts += map(_markdown_table, section.tables)
        parts += [_filled(f"What bounds it now: {section.bounds}")]
    parts += ["## Ratios", _markdown_table(_all_ratios(results.ratios))]
    return "\n\n".join(parts) + "\n"


def quotation(results: Results) -> str:
    """The tables of docs/overhead.md, between their markers."""
    tables = [one for section in results.sections.values() for one in section.quoted]
    return "\n\n".join([BEGIN, *map(_markdown_table, tables), END])


def quoted_in(page: str, results: Results) -> str:
    """The page with the tables between its markers replaced."""
    head, rest = page.split(BEGIN)
    return head + quotation(results) + rest.split(END)[1]


def _filled(text: str) -> str:
    return fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def _goals(ratios: Mapping[str, Ratio]) -> Table:
    rows = [
        (
            ratio.about,
            f"{ratio.value:.4g}",
            f"at {'most' if ratio.better == 'less' else 'least'} {ratio.goal:g}",
            "yes" if ratio.met else "**no**",
        )
        for ratio in ratios.values()
        if ratio.goal is not None
    ]
    return Table("", ("what", "measured", "goal", "met"), tuple(rows))


def _all_ratios(ratios: Mapping[str, Ratio]) -> Table:
    rows = [
        (f"`{k}`", r.about, f"{r.value:.4g}", f"{r.better} is better") for k, r in ratios.items()
    ]
    return Table("", ("name", "what", "measured", ""), tuple(rows))


def _markdown_table(one: Table) -> str:
    lines: Iterable[tuple[str, ...]] = (one.columns, ("---",) * len(one.columns), *one.rows)
    grid = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    return "\n\n".join(filter(None, (f"**{one.title}**" if one.title else "", grid, one.note)))
