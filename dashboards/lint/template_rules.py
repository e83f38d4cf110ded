# SPDX-License-Identifier: Apache-2.0
"""dashboard-linter's rules for variables, and for the dashboard as a whole."""

import re
from collections.abc import Iterator, Mapping

from dashboards.boards.promql import selectors
from dashboards.lint.model import Board, Fault, Rule, datasource_of

_LABEL_VALUES = re.compile(r"label_values\((?:(?P<selector>.+),)?\s*(?P<label>\w+)\)")
_EVERY_TIME = 2
"""VariableRefresh.onTimeRangeChanged."""


def datasource(board: Board) -> Iterator[Fault]:
    """One variable chooses the data source, and says so."""
    sources = [v for v in board.variables() if v.get("type") == "datasource"]
    if len(sources) != 1:
        yield Fault("", f"{len(sources)} variables of type datasource, there must be one")
        return
    if sources[0].get("name") not in ("datasource", "prometheus_datasource"):
        yield Fault("", "the data source variable's name must be datasource")
    if sources[0].get("label") not in ("Data source", "Prometheus data source"):
        yield Fault("", "the data source variable's label must be 'Data source'")
    if sources[0].get("query") != "prometheus":
        yield Fault("", "the data source variable must be of Prometheus")


def job(board: Board) -> Iterator[Fault]:
    """``job`` is a variable in which several can be chosen, or all."""
    yield from _target_variable(board, "job")


def instance(board: Board) -> Iterator[Fault]:
    """So is ``instance``."""
    yield from _target_variable(board, "instance")


def _target_variable(board: Board, name: str) -> Iterator[Fault]:
    variable = board.variable(name)
    if variable is None:
        yield Fault("", f"no variable {name}")
        return
    wanted: Mapping[str, object] = {
        "type": "query",
        "label": name.capitalize(),
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
    }
    for key, value in wanted.items():
        if variable.get(key) != value:
            yield Fault("", f"variable {name}: {key} is {variable.get(key)!r}, must be {value!r}")
    if datasource_of(variable) not in ("$datasource", "${datasource}"):
        yield Fault("", f"variable {name}: its data source must be $datasource")


def label_promql(board: Board) -> Iterator[Fault]:
    """What variables ask for can be parsed."""
    for variable in board.variables():
        if variable.get("type") != "query":
            continue
        query = variable.get("query")
        text = query.get("query", "") if isinstance(query, dict) else str(query)
        found = _LABEL_VALUES.fullmatch(text.strip())
        if not found:
            yield Fault("", f"variable {variable.get('name')}: {text!r} is no label_values(...)")
        elif found["selector"]:
            try:
                selectors(found["selector"])
            except ValueError as error:
                yield Fault("", f"variable {variable.get('name')}: {text!r}: {error}")


def on_time_change_reload(board: Board) -> Iterator[Fault]:
    """Variables are asked for anew when the time range changes."""
    for variable in board.variables():
        if variable.get("type") == "query" and variable.get("refresh") != _EVERY_TIME:
            yield Fault("", f"variable {variable.get('name')}: refresh must be {_EVERY_TIME}")


def uneditable(board: Board) -> Iterator[Fault]:
    """It is made by code: what is edited by hand would be lost."""
    if board.model.get("editable", True):
        yield Fault("", "editable must be false")


RULES: Mapping[str, Rule] = {
    "template-datasource-rule": datasource,
    "template-job-rule": job,
    "template-instance-rule": instance,
    "template-label-promql-rule": label_promql,
    "template-on-time-change-reload-rule": on_time_change_reload,
    "uneditable-dashboard-rule": uneditable,
}
