# SPDX-License-Identifier: Apache-2.0
"""Time every query of the Fleet dashboard on a real Prometheus with synthetic hosts.

The dashboard shows 6 hours in steps of 30 s.
"""

import json
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.boards.build import dashboards
from dashboards.lint.model import Board
from dashboards.prove.prometheus import Prometheus, running
from dashboards.prove.queries import Window, filled_in, of_rules
from dashboards.prove.synthetic import END, SIX_HOURS, STEP, store

PANEL_SECONDS, PANEL_BYTES, ALL_SECONDS = 1.0, 1_000_000, 4.0
PANEL_SAMPLES = 100_000
"""Budget of a panel and of the dashboard, at 1,000 hosts. Samples are what Prometheus reads for its
answers: as many on a busy machine."""
_FEWEST = 0.25
"""A fleet of fewer than 250 hosts has the budget of 250: a request needs some time of itself."""
_WINDOW = Window(rate=4 * STEP, shown=SIX_HOURS)


class Timing(NamedTuple):
    """What a panel needs: seconds (median of three, one query after the other), bytes, samples."""

    title: str
    queries: int
    seconds: float
    size: int
    samples: int


class Timings(NamedTuple):
    """Hosts, their series, panels, and the seconds of one evaluation of each rule."""

    hosts: int
    series: int
    panels: list[Timing]
    rules: dict[str, float]


def measure(hosts: int) -> Timings:
    """Make the hosts and time the queries; takes minutes for 1,000. Raises ``PrometheusError``."""
    with tempfile.TemporaryDirectory(prefix="hvoscope-timing-") as work:
        series = store(hosts, Path(work))
        with running(Path(work), "global: {scrape_interval: 30s}\n") as prometheus:
            return Timings(hosts, series, list(fleet(prometheus)), rules_seconds(prometheus))


def fleet(prometheus: Prometheus) -> Iterator[Timing]:
    """Time the panels and annotations of Fleet."""
    model = dashboards()["hvo-fleet.json"]
    for panel in Board(model).panels():
        yield _timed(prometheus, panel["title"], panel["targets"])
    notes = [note for note in model["annotations"]["list"] if note.get("expr")]
    yield _timed(prometheus, "(annotations)", notes)


def rules_seconds(prometheus: Prometheus) -> dict[str, float]:
    """Return the seconds of one evaluation of each rule; its result is counted, not transferred."""
    return {query.title: _run(prometheus, f"count({query.expr})", True)[0] for query in of_rules()}


def over_budget(timings: Timings, factor: float = 2.0, *, timed: bool = True) -> list[str]:
    """Return what needs more than ``factor`` times its budget, one line each.

    Unless ``timed``, seconds do not count: on a busy machine they tell more of that.
    """
    share = factor * max(timings.hosts / 1000, _FEWEST)
    found = [
        f"{t.title}: {t.seconds:.2f} s, {t.size / 1e6:.2f} MB, {t.samples:,} samples"
        for t in timings.panels
        if (timed and t.seconds > share * PANEL_SECONDS)
        or t.size > share * PANEL_BYTES
        or t.samples > share * PANEL_SAMPLES
    ]
    total = sum(t.seconds for t in timings.panels)
    slow = timed and total > share * ALL_SECONDS
    return found + ([f"all: {total:.2f} s"] if slow else [])


def _timed(prometheus: Prometheus, title: str, targets: Sequence[dict[str, Any]]) -> Timing:
    queries = [(target["expr"], bool(target.get("instant"))) for target in targets]
    rounds = []
    for _ in range(3):
        runs = [_run(prometheus, *query) for query in queries]
        rounds.append((sum(run[0] for run in runs), sum(len(run[1]) for run in runs)))
    seconds = statistics.median(of[0] for of in rounds)
    samples = sum(_samples(prometheus, *query) for query in queries)
    return Timing(title, len(queries), seconds, rounds[0][1], samples)


def _samples(prometheus: Prometheus, expr: str, instant: bool) -> int:
    _, answer = _run(prometheus, expr, instant, stats="all")
    return int(json.loads(answer)["data"]["stats"]["samples"]["totalQueryableSamples"])


def _run(prometheus: Prometheus, expr: str, instant: bool, **more: str) -> tuple[float, bytes]:
    """Return seconds and the answer."""
    asked = {"query": filled_in(expr, _WINDOW), **more}
    if instant:
        asked |= {"time": f"{END:.0f}"}
    else:
        asked |= {"start": f"{END - SIX_HOURS:.0f}", "end": f"{END:.0f}", "step": f"{STEP:.0f}"}
    path = "query" if instant else "query_range"
    url = f"{prometheus.url}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
    begin = time.monotonic()
    with urllib.request.urlopen(url, timeout=120) as answer:
        body = answer.read()
    return time.monotonic() - begin, body


def table(timings: Timings) -> Iterator[str]:
    """Yield the lines of a report with a table."""
    yield f"{timings.hosts} hosts, {timings.series} series, over 6 hours in steps of 30 s"
    yield ""
    yield "| panel | queries | seconds | kB | samples |"
    yield "|---|---|---|---|---|"
    for t in timings.panels:
        cells = f"{t.seconds:.3f} | {t.size / 1000:.1f} | {t.samples:,}"
        yield f"| {t.title} | {t.queries} | {cells} |"
    queries, seconds, size, samples = map(sum, zip(*(t[1:] for t in timings.panels), strict=True))
    yield f"| **all** | {queries} | **{seconds:.2f}** | {size / 1000:.1f} | {samples:,} |"
    yield ""
    yield f"One evaluation of all rules: {sum(timings.rules.values()):.2f} s; the slowest:"
    yield ""
    yield "| rule | seconds |"
    yield "|---|---|"
    for name, used in sorted(timings.rules.items(), key=lambda rule: -rule[1])[:5]:
        yield f"| `{name}` | {used:.3f} |"
