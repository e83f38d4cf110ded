# SPDX-License-Identifier: Apache-2.0
"""Parse PromQL expressions that contain Grafana's variables."""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import promql_parser
from promql_parser import Call, Expr, MatchOp, MatrixSelector, VectorSelector

RATE_INTERVAL, RANGE, INTERVAL = "$__rate_interval", "$__range", "$__interval"

_PLACEHOLDERS: Mapping[str, str] = {RATE_INTERVAL: "1129s", RANGE: "6007s", INTERVAL: "43s"}
"""Durations that stand for variables while parsing; unusual, to tell them from literal ones."""


class Matcher(NamedTuple):
    """One label matcher; ``regex`` is true for ``=~``; the value is as written, with variables."""

    label: str
    regex: bool
    value: str


class Selector(NamedTuple):
    """One selector: metric, matchers, and the range with its function."""

    metric: str
    matchers: tuple[Matcher, ...]
    window: str
    """The range as written: a variable's name, or seconds; empty without a range."""
    function: str
    """The innermost function around it; empty without one."""


def selectors(expression: str) -> list[Selector]:
    """Return every selector of ``expression``. Raises ``ValueError`` if it is not valid PromQL.

    Variables in label values (``$job``) are kept: they are within quotes.
    """
    root = promql_parser.parse(with_durations(expression, _PLACEHOLDERS))
    found: list[Selector] = []
    around: list[Expr] = []

    def enter(node: Expr) -> None:
        parent = around[-1] if around else None
        if isinstance(node, MatrixSelector):
            found.append(_selector(node.vector_selector, _window(node.range), around))
        elif isinstance(node, VectorSelector) and not isinstance(parent, MatrixSelector):
            found.append(_selector(node, "", around))
        around.append(node)

    def leave(_node: Expr) -> None:
        around.pop()

    promql_parser.walk(root, enter, leave)
    return found


def with_durations(expression: str, durations: Mapping[str, str]) -> str:
    """Replace Grafana's variables with durations."""
    for variable, duration in durations.items():
        expression = expression.replace(variable, duration)
    return expression


def _selector(node: VectorSelector, window: str, around: list[Expr]) -> Selector:
    matchers = tuple(Matcher(m.name, m.op == MatchOp.Re, m.value) for m in node.matchers.matchers)
    calls = [parent.func.name for parent in around if isinstance(parent, Call)]
    return Selector(node.name or "", matchers, window, calls[-1] if calls else "")


def _window(length: timedelta) -> str:
    written = f"{length.total_seconds():.0f}s"
    return {placeholder: name for name, placeholder in _PLACEHOLDERS.items()}.get(written, written)
