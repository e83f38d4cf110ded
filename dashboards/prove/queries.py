# SPDX-License-Identifier: Apache-2.0
"""All queries of panels and rules."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dashboards.boards.build import dashboards
from dashboards.boards.promql import INTERVAL, RANGE, RATE_INTERVAL, with_durations
from dashboards.lint.model import Board
from dashboards.rules import rules


class Query(NamedTuple):
    """One query: its origin, its name there, and the expression that Grafana would send."""

    where: str
    """A dashboard's UID, or ``rules``."""
    title: str
    """The panel's title, or the rule's name."""
    ref: str
    expr: str

    @property
    def name(self) -> str:
        """The full name: dashboard, panel and query."""
        return (
            f"{self.where}: {self.title}: {self.ref}" if self.ref else f"{self.where}: {self.title}"
        )


ALL: Mapping[str, str] = {
    "job": ".+",
    "cluster": ".*",
    "instance": ".+",
    "size": ".+",
    "numa_node": ".+",
}
"""Values of variables as Grafana sends them if All is selected."""


class Window(NamedTuple):
    """Grafana's time ranges in seconds."""

    rate: float
    """``$__rate_interval``: four scrapes, or the graph's resolution plus one scrape, if longer."""
    shown: float
    """``$__range``: the selected time range."""


def of_panels(window: Window, chosen: Mapping[str, str] = ALL) -> Iterator[Query]:
    """Yield the queries of all dashboards, with ``chosen`` values of variables by name."""
    for model in dashboards().values():
        for panel in Board(model).panels():
            for target in panel["targets"]:
                expr = filled_in(target["expr"], window, chosen)
                yield Query(model["uid"], panel["title"], target["refId"], expr)


def of_rules() -> Iterator[Query]:
    """Yield the queries of all rules."""
    for rule in rules():
        yield Query("rules", rule.name, "", rule.expr)


def filled_in(expr: str, window: Window, chosen: Mapping[str, str] = ALL) -> str:
    """Replace variables in ``expr`` as Grafana does."""
    durations = {
        RATE_INTERVAL: f"{window.rate:g}s",
        RANGE: f"{window.shown:g}s",
        INTERVAL: f"{window.rate / 4:g}s",
    }
    expr = with_durations(expr, durations)
    for name, value in chosen.items():
        expr = expr.replace(f'"${name}"', f'"{value}"')
    return expr
