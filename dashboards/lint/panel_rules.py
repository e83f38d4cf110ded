# SPDX-License-Identifier: Apache-2.0
"""Rules for panels: dashboard-linter's four, and our own for thresholds, links and layout."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from grafana_foundation_sdk.models import units

from dashboards.lint.model import Board, Fault, Rule, datasource_of, name_of

_TEXTUAL = frozenset({"text", "dashlist", "news"})
_UNITS = frozenset(value for value in vars(units).values() if isinstance(value, str))
_GRID_COLUMNS = 24


def datasource(board: Board) -> Iterator[Fault]:
    """Require every panel and query to use the variable ``datasource``."""
    for panel in board.panels():
        for thing in (panel, *panel.get("targets", [])):
            if datasource_of(thing) not in ("$datasource", "${datasource}"):
                yield Fault(
                    name_of(panel),
                    f"data source is {datasource_of(thing)!r}, must be ${{datasource}}",
                )


def title_description(board: Board) -> Iterator[Fault]:
    """Require a title and a description."""
    for panel in board.panels():
        for key in ("title", "description"):
            if not str(panel.get(key) or "").strip():
                yield Fault(name_of(panel), f"no {key}")


def unit(board: Board) -> Iterator[Fault]:
    """Require a unit that Grafana knows."""
    for panel in _with_numbers(board):
        found = _defaults(panel).get("unit")
        if not found:
            yield Fault(name_of(panel), "no unit")
        elif found not in _UNITS and not found.startswith("suffix:"):
            yield Fault(name_of(panel), f"unknown unit {found!r}")


def no_targets(board: Board) -> Iterator[Fault]:
    """Require a query."""
    for panel in _with_numbers(board):
        if not panel.get("targets"):
            yield Fault(name_of(panel), "no query")


def thresholds(board: Board) -> Iterator[Fault]:
    """Require thresholds, not just red: by default, Grafana shows everything from 80 up in red."""
    for panel in _with_numbers(board):
        steps = _defaults(panel).get("thresholds", {}).get("steps", [])
        if not steps:
            yield Fault(name_of(panel), "no thresholds: Grafana shows 80 and above in red")
        elif len(steps) == 1 and steps[0].get("color") == "red":
            yield Fault(name_of(panel), "always red")


def links(board: Board) -> Iterator[Fault]:
    """Require a link to another dashboard."""
    for panel in board.panels():
        if not panel.get("links"):
            yield Fault(name_of(panel), "no link")


def overlap(board: Board) -> Iterator[Fault]:
    """Require panels within the grid that do not overlap."""
    placed = [panel for panel in board.model.get("panels", []) if "gridPos" in panel]
    for panel in placed:
        position = panel["gridPos"]
        if position.get("x", 0) + position.get("w", 0) > _GRID_COLUMNS:
            yield Fault(name_of(panel), f"extends beyond column {_GRID_COLUMNS}")
    for one, other in combinations(placed, 2):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield Fault(name_of(one), f"overlaps panel {name_of(other)!r}")


def identity(board: Board) -> Iterator[Fault]:
    """Require unique titles and IDs."""
    for key, what in (("id", "ID"), ("title", "title")):
        seen: set[object] = set()
        for panel in board.panels():
            if panel.get(key) in seen:
                yield Fault(name_of(panel), f"duplicate {what} {panel.get(key)!r}")
            seen.add(panel.get(key))


def _with_numbers(board: Board) -> Iterator[dict[str, Any]]:
    return (panel for panel in board.panels() if panel.get("type") not in _TEXTUAL)


def _defaults(panel: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = panel.get("fieldConfig", {}).get("defaults", {})
    return found


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one.get(at, 0) < other.get(at, 0) + other.get(long, 0)
        and other.get(at, 0) < one.get(at, 0) + one.get(long, 0)
        for at, long in (("x", "w"), ("y", "h"))
    )


RULES: Mapping[str, Rule] = {
    "panel-datasource-rule": datasource,
    "panel-title-description-rule": title_description,
    "panel-units-rule": unit,
    "panel-no-targets-rule": no_targets,
}
OWN: Mapping[str, Rule] = {
    "panel-thresholds": thresholds,
    "panel-links": links,
    "panel-overlap": overlap,
    "panel-identity": identity,
}
