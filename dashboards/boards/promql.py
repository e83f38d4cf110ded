# SPDX-License-Identifier: Apache-2.0
"""What is in a PromQL expression, Grafana's variables and all."""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import promql_parser
from promql_parser import Call, Expr, MatchOp, MatrixSelector, VectorSelector

RATE_INTERVAL, RANGE, INTERVAL = "$__rate_interval", "$__range", "$__interval"

_STAND_INS: Mapping[str, str] = {RATE_INTERVAL: "1129s", RANGE: "6007s", INTERVAL: "43s"}
"""Durations that nobody would write, so that they can be told from written ones."""


class Matcher(NamedTuple):
    """One label matcher: ``=~`` is ``regex``; its value as written, variables included."""

    label: str
    regex: bool
    value: str


class Selector(NamedTuple):
    """One selected metric: its matchers, and, of a range, how long and in which function."""

    metric: str
    matchers: tuple[Matcher, ...]
    window: str
    """As written: a variable's name, or seconds; empty without a range."""
    function: str
    """The innermost function around it; empty without one."""


def selectors(expression: str) -> list[Selector]:
    """Every selector of ``expression``. Raises ``ValueError`` where Prometheus could not parse it.

    A label's variable (``$job``) stays as it is: it is within quotes.
    """
    root = promql_parser.parse(with_durations(expression, _STAND_INS))
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
    """Put durations in the places of Grafana's own variables."""
    for variable, duration in durations.items():
        expression = expression.replace(variable, duration)
    return expression


def _selector(node: VectorSelector, window: str, around: list[Expr]) -> Selector:
    matchers = tuple(Matcher(m.name, m.op == MatchOp.Re, m.value) for m in node.matchers.matchers)
    calls = [parent.func.name for parent in around if isinstance(parent, Call)]
    return Selector(node.name or "", matchers, window, calls[-1] if calls else "")


def _window(length: timedelta) -> str:
    written = f"{length.total_seconds():.0f}s"
    return {stand_in: name for name, stand_in in _STAND_INS.items()}.get(written, written)
