# SPDX-License-Identifier: Apache-2.0
"""Assemble all dashboards as JSON that Grafana imports."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from dashboards.boards import fleet, host, kernel
from dashboards.boards.variables import common, datasource

FOLDER = Path(__file__).parents[1] / "json"
MODULES: tuple[ModuleType, ...] = (host, fleet, kernel)
TAG = "hvoscope"

_INTERVAL_ONLY = ("auto", "auto_count", "auto_min")
"""Keys that the SDK writes on every variable, though only interval variables have them."""


def dashboards() -> Mapping[str, dict[str, Any]]:
    """Return every dashboard as Grafana's JSON model, by file name."""
    return {f"{module.UID}.json": _model(module) for module in MODULES}


def texts() -> Mapping[str, str]:
    """Return the expected content of each file, by name."""
    return {
        name: json.dumps(model, indent=2, sort_keys=True) + "\n"
        for name, model in dashboards().items()
    }


def stale(folder: Path) -> list[str]:
    """Return the names of files in ``folder`` that are missing or stale."""
    return sorted(
        name
        for name, text in texts().items()
        if not (folder / name).exists() or (folder / name).read_text() != text
    )


def _model(module: ModuleType) -> dict[str, Any]:
    board = (
        Dashboard(module.TITLE)
        .uid(module.UID)
        .description(module.DESCRIPTION)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
        .link(
            DashboardLink("HVO dashboards")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(datasource())
    )
    for variable in common(*module.VARIABLES, one=module.ONE):
        board.with_variable(variable)
    for note in module.annotations():
        board.annotation(note)
    for title, panels in module.sections():
        if title in module.DETAILS:
            row = Row(title).collapsed(True)
            for panel in panels:
                row.with_panel(panel)
            board.with_row(row)
            continue
        board.with_row(Row(title))
        for panel in panels:
            board.with_panel(panel)
    return _finished(json.loads(json.dumps(board.build(), cls=JSONEncoder)))


def _finished(model: dict[str, Any]) -> dict[str, Any]:
    for number, panel in enumerate(_every(model["panels"]), start=1):
        panel["id"] = number
        panel.get("options", {}).pop("footer", None)  # the SDK's; newer schemas have none
    for variable in model["templating"]["list"]:
        for name in _INTERVAL_ONLY:
            variable.pop(name, None)
    return model


def _every(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield panels and rows, and the panels within collapsed rows."""
    for panel in panels:
        yield panel
        yield from panel.get("panels", [])
