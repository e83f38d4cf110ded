# SPDX-License-Identifier: Apache-2.0
"""dashboard-linter's rules for variables and for the whole dashboard."""

import re
from collections.abc import Iterator, Mapping

from dashboards.boards.promql import selectors
from dashboards.lint.model import Board, Fault, Rule, datasource_of

_LABEL_VALUES = re.compile(r"label_values\((?:(?P<selector>.+),)?\s*(?P<label>\w+)\)")
_ON_TIME_RANGE_CHANGED = 2
"""Value of VariableRefresh."""


def datasource(board: Board) -> Iterator[Fault]:
    """Require one variable that selects the data source."""
    sources = [v for v in board.variables() if v.get("type") == "datasource"]
    if len(sources) != 1:
        yield Fault("", f"{len(sources)} variables of type datasource (expected 1)")
        return
    if sources[0].get("name") not in ("datasource", "prometheus_datasource"):
        yield Fault("", "the data source variable's name must be datasource")
    if sources[0].get("label") not in ("Data source", "Prometheus data source"):
        yield Fault("", "the data source variable's label must be 'Data source'")
    if sources[0].get("query") != "prometheus":
        yield Fault("", "the data source variable must select Prometheus")


def job(board: Board) -> Iterator[Fault]:
    """Require a variable ``job`` with multiple selection and All."""
    yield from _target_variable(board, "job")


def instance(board: Board) -> Iterator[Fault]:
    """Require a variable ``instance`` with multiple selection and All."""
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
            yield Fault("", f"variable {name}: {key} is {variable.get(key)!r} (expected {value!r})")
    if datasource_of(variable) not in ("$datasource", "${datasource}"):
        yield Fault("", f"variable {name}: its data source must be $datasource")


def label_promql(board: Board) -> Iterator[Fault]:
    """Require valid queries of variables."""
    for variable in board.variables():
        if variable.get("type") != "query":
            continue
        query = variable.get("query")
        text = query.get("query", "") if isinstance(query, dict) else str(query)
        found = _LABEL_VALUES.fullmatch(text.strip())
        if not found:
            name = variable.get("name")
            yield Fault("", f"variable {name}: {text!r} is not a label_values(...) query")
        elif found["selector"]:
            try:
                selectors(found["selector"])
            except ValueError as error:
                yield Fault("", f"variable {variable.get('name')}: {text!r}: {error}")


def on_time_change_reload(board: Board) -> Iterator[Fault]:
    """Require variables to refresh when the time range changes."""
    for variable in board.variables():
        refresh = variable.get("refresh")
        if variable.get("type") == "query" and refresh != _ON_TIME_RANGE_CHANGED:
            yield Fault(
                "", f"variable {variable.get('name')}: refresh must be {_ON_TIME_RANGE_CHANGED}"
            )


def uneditable(board: Board) -> Iterator[Fault]:
    """Require a read-only dashboard: it is generated, so manual edits would be lost."""
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
