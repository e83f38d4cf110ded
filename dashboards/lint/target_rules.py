# SPDX-License-Identifier: Apache-2.0
"""Rules for queries: dashboard-linter's seven, and our own for metric and label names."""

from collections.abc import Iterator, Mapping

from dashboards.boards.promql import RATE_INTERVAL, Matcher, Selector, selectors
from dashboards.lint.known import labels_of
from dashboards.lint.model import Board, Fault, Rule

_RATES = frozenset({"rate", "irate"})
_INCREASES = _RATES | {"increase"}


def _parsed(board: Board) -> Iterator[tuple[str, Selector]]:
    """Yield the selectors of valid queries; the rule ``promql`` reports the invalid ones."""
    for panel, target in board.targets():
        try:
            found = selectors(str(target.get("expr", "")))
        except ValueError:
            continue
        for selector in found:
            yield panel, selector


def promql(board: Board) -> Iterator[Fault]:
    """Require valid PromQL."""
    for panel, target in board.targets():
        expression = str(target.get("expr", ""))
        try:
            selectors(expression)
        except ValueError as error:
            yield Fault(panel, f"query {target.get('refId', '?')}: {error}: {expression!r}")


def rate_interval(board: Board) -> Iterator[Fault]:
    """Require ``$__rate_interval`` in rates, which respects the scrape interval."""
    for panel, selector in _parsed(board):
        if selector.function in _RATES and selector.window != RATE_INTERVAL:
            yield Fault(
                panel,
                f"{selector.function} of {selector.metric} over {selector.window}, "
                f"expected {RATE_INTERVAL}",
            )


def counter_agg(board: Board) -> Iterator[Fault]:
    """Require rate or increase of every counter."""
    for panel, selector in _parsed(board):
        if selector.metric.endswith("_total") and selector.function not in _INCREASES:
            yield Fault(panel, f"{selector.metric} is a counter without rate or increase")


def job(board: Board) -> Iterator[Fault]:
    """Require the variable ``job`` in every selector."""
    yield from _chosen(board, "job")


def instance(board: Board) -> Iterator[Fault]:
    """Require the variable ``instance`` in every selector."""
    yield from _chosen(board, "instance")


def _chosen(board: Board, label: str) -> Iterator[Fault]:
    for panel, selector in _parsed(board):
        if Matcher(label, True, f"${label}") not in selector.matchers:
            yield Fault(panel, f'{selector.metric} lacks {label}=~"${label}"')


def logql(board: Board) -> Iterator[Fault]:
    """Reject Loki queries: hvoscope has no logs to query."""
    for panel, target in board.targets():
        source = target.get("datasource")
        if isinstance(source, dict) and source.get("type") == "loki":
            yield Fault(panel, "Loki query (expected Prometheus)")


def logql_auto(board: Board) -> Iterator[Fault]:
    """Reject ``$__auto``, which only Loki supports."""
    for panel, target in board.targets():
        if "$__auto" in str(target.get("expr", "")):
            yield Fault(panel, "$__auto is supported by Loki only")


def known_names(board: Board) -> Iterator[Fault]:
    """Require metrics and labels of the catalogue."""
    for panel, selector in _parsed(board):
        known = labels_of(selector.metric)
        if known is None:
            yield Fault(panel, f"unknown metric {selector.metric}")
            continue
        for matcher in selector.matchers:
            if matcher.label not in known:
                yield Fault(panel, f"{selector.metric} has no label {matcher.label}")


def legend(board: Board) -> Iterator[Fault]:
    """Require a legend for every query of graphs, bars and stats."""
    for panel in board.panels():
        if panel.get("type") not in ("timeseries", "bargauge", "stat"):
            continue
        for target in panel.get("targets", []):
            if not target.get("legendFormat"):
                yield Fault(str(panel.get("title")), f"query {target.get('refId')}: no legend")


RULES: Mapping[str, Rule] = {
    "target-logql-rule": logql,
    "target-logql-auto-rule": logql_auto,
    "target-promql-rule": promql,
    "target-rate-interval-rule": rate_interval,
    "target-job-rule": job,
    "target-instance-rule": instance,
    "target-counter-agg-rule": counter_agg,
}
OWN: Mapping[str, Rule] = {"target-known-names": known_names, "target-legend": legend}
