# SPDX-License-Identifier: Apache-2.0
"""Collapsed rows, expanded: the page draws everything."""

from typing import Any

Panels = list[dict[str, Any]]


def expanded(model: dict[str, Any]) -> dict[str, Any]:
    """Return the dashboard with the panels of collapsed rows below their rows, without gaps."""
    panels: Panels = []
    for section in _sections(model["panels"]):
        begin = max((_bottom(panel) for panel in panels), default=0)
        top = section[0]["gridPos"]["y"]
        panels += [_moved(panel, begin - top) for panel in section]
    return {**model, "panels": panels}


def _sections(panels: Panels) -> list[Panels]:
    """Return each row with its panels; those of a collapsed row directly below it."""
    sections: list[Panels] = []
    for panel in panels:
        if panel["type"] == "row" or not sections:
            sections.append([])
        inner = panel.get("panels", [])
        sections[-1].append({**panel, "panels": [], "collapsed": False} if inner else panel)
        if inner:
            first = min(one["gridPos"]["y"] for one in inner)
            sections[-1] += [_moved(one, _bottom(panel) - first) for one in inner]
    return sections


def _bottom(panel: dict[str, Any]) -> int:
    return int(panel["gridPos"]["y"]) + int(panel["gridPos"]["h"])


def _moved(panel: dict[str, Any], by: int) -> dict[str, Any]:
    return {**panel, "gridPos": {**panel["gridPos"], "y": panel["gridPos"]["y"] + by}}
