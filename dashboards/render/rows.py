# SPDX-License-Identifier: Apache-2.0
"""Collapsed rows, expanded: the page draws everything."""

from typing import Any


def expanded(model: dict[str, Any]) -> dict[str, Any]:
    """Return the dashboard with the panels of collapsed rows below their rows."""
    panels: list[dict[str, Any]] = []
    below = 0
    for panel in model["panels"]:
        inner = panel.get("panels", [])
        panels.append(_moved({**panel, "panels": [], "collapsed": False}, below))
        if inner:
            top = panel["gridPos"]["y"] + 1
            first = min(one["gridPos"]["y"] for one in inner)
            panels += [_moved(one, below + top - first) for one in inner]
            below += max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in inner) - first
    return {**model, "panels": panels}


def _moved(panel: dict[str, Any], by: int) -> dict[str, Any]:
    return {**panel, "gridPos": {**panel["gridPos"], "y": panel["gridPos"]["y"] + by}}
