# SPDX-License-Identifier: Apache-2.0
"""Run every query on saved scrapes, for example of a real kernel."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from dashboards.boards.promql import selectors
from dashboards.prove import openmetrics
from dashboards.prove.history import START
from dashboards.prove.prometheus import Labels, load, running
from dashboards.prove.queries import Query, Window, of_panels, of_rules
from dashboards.prove.watch import History, Sample

EVERY = 60.0
"""Assumed seconds between two files."""
INSTANCE = "recorded"

_CONFIG = "global: {scrape_interval: 1m}\n"


class Answer(NamedTuple):
    """Result of a query; ``problem`` is empty if it is as expected."""

    query: Query
    values: dict[Labels, float]
    problem: str


def read(path: Path) -> list[Sample]:
    """Read a saved scrape, text or OpenMetrics. Raises ``ValueError`` with the file's name."""
    text = path.read_text()
    parse = open_families if text.rstrip().endswith("# EOF") else text_families
    try:
        return [
            Sample(
                family.name,
                family.type,
                sample.name,
                tuple(sorted(sample.labels.items())),
                float(sample.value),
            )
            for family in parse(text)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
    except ValueError as error:
        raise ValueError(f"{path} is not a scrape: {error}") from error


def prove(paths: Iterable[Path], storage: Path) -> Iterator[Answer]:
    """Run every query at the time of the last scrape; scrapes are ordered, a minute apart.

    A query must have a result if all its metrics were scraped; a query over a range also needs two
    scrapes. Alerts and ratios may be empty: without activity they have no result. Raises
    ``OSError`` and ``ValueError`` for a file, and ``PrometheusError``.
    """
    scrapes = [(number * EVERY, read(path)) for number, path in enumerate(paths)]
    end = scrapes[-1][0]
    window = Window(rate=max(end, EVERY), shown=max(end, EVERY))
    storage.mkdir(parents=True, exist_ok=True)
    with (storage / "recorded.om").open("w") as out:
        openmetrics.write([History(INSTANCE, scrapes)], START, out)
    load(storage / "recorded.om", storage)
    names = {sample.name for sample in scrapes[-1][1]} | {"up"}
    with running(storage, _CONFIG) as prometheus:
        for query in (*of_panels(window), *of_rules()):
            values = prometheus.values(query.expr, START + end)
            yield Answer(query, values, _problem(query, values, names, several=end > 0))


def _problem(query: Query, values: object, names: set[str], *, several: bool) -> str:
    asked = selectors(query.expr)
    if values or not all(selector.metric in names for selector in asked):
        return ""
    over_time = any(selector.window for selector in asked)
    may_be_empty = query.expr.count(" > ") or query.expr.count(" == ") or query.where == "rules"
    return "" if may_be_empty or (over_time and not several) else "no result"
