# SPDX-License-Identifier: Apache-2.0
"""Every query there is: of every panel, every variable and every rule."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dashboards.boards.build import dashboards
from dashboards.boards.promql import INTERVAL, RANGE, RATE_INTERVAL, with_durations
from dashboards.lint.model import Board
from dashboards.rules import rules


class Query(NamedTuple):
    """One query: where it is from, what it is called there, and what Grafana would send."""

    where: str
    """A dashboard's identifier, or ``rules``."""
    title: str
    """Of the panel, or the rule's name."""
    ref: str
    expr: str

    @property
    def name(self) -> str:
        """All of where it is from."""
        return (
            f"{self.where}: {self.title}: {self.ref}" if self.ref else f"{self.where}: {self.title}"
        )


ALL: Mapping[str, str] = {
    "job": ".+",
    "instance": ".+",
    "size": ".+",
    "node": ".*",
}
"""Variables as Grafana fills them in when All is chosen."""


class Window(NamedTuple):
    """How long Grafana's time ranges are, in seconds."""

    rate: float
    """``$__rate_interval``: four scrapes, or the step of the graph and one scrape, if longer."""
    shown: float
    """``$__range``: what the time picker shows."""


def of_panels(window: Window, chosen: Mapping[str, str] = ALL) -> Iterator[Query]:
    """Queries of all dashboards, with ``chosen`` values of variables, by name."""
    for model in dashboards().values():
        for panel in Board(model).panels():
            for target in panel["targets"]:
                expr = filled_in(target["expr"], window, chosen)
                yield Query(model["uid"], panel["title"], target["refId"], expr)


def of_rules() -> Iterator[Query]:
    """Queries of all rules."""
    for rule in rules():
        yield Query("rules", rule.name, "", rule.expr)


def filled_in(expr: str, window: Window, chosen: Mapping[str, str] = ALL) -> str:
    """``expr`` as Grafana would send it."""
    durations = {
        RATE_INTERVAL: f"{window.rate:g}s",
        RANGE: f"{window.shown:g}s",
        INTERVAL: f"{window.rate / 4:g}s",
    }
    expr = with_durations(expr, durations)
    for name, value in chosen.items():
        expr = expr.replace(f'"${name}"', f'"{value}"')
    return expr
