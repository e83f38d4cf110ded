# SPDX-License-Identifier: Apache-2.0
"""The Fleet dashboard is fast: every panel, on a real Prometheus with 251 synthetic hosts."""

import pytest

from dashboards.boards.build import dashboards
from dashboards.boards.promql import selectors
from dashboards.lint.model import Board
from dashboards.prove.timing import Timing, Timings, measure, over_budget, table
from tests.tools import need

HOSTS = 251


@pytest.mark.dashboards
def test_no_panel_needs_twice_its_budget() -> None:
    need("promtool", "prometheus")
    timings = measure(HOSTS)
    assert timings.series > 200 * HOSTS
    assert len(timings.panels) == len(list(Board(dashboards()["hvo-fleet.json"]).panels())) + 1
    # The synthetic hosts save all that is possible.
    empty = [panel.title for panel in timings.panels if panel.size < 70 * panel.queries]
    assert empty == ["Top 10 by memory not saved"]
    # Not its seconds, which depend on what else the machine does.
    assert over_budget(timings, timed=False) == [], "\n".join(table(timings))


def test_a_panel_over_its_budget_is_named() -> None:
    fast = Timing("fast", 1, 0.9, 900_000, 90_000)
    slow, large = Timing("slow", 1, 1.1, 10, 10), Timing("large", 1, 0.1, 1_100_000, 10)
    many = Timing("many", 1, 0.1, 10, 110_000)
    assert over_budget(Timings(1000, 9, [fast, slow, large, many], {}), 1.0) == [
        "slow: 1.10 s, 0.00 MB, 10 samples",
        "large: 0.10 s, 1.10 MB, 10 samples",
        "many: 0.10 s, 0.00 MB, 110,000 samples",
    ]
    assert over_budget(Timings(1000, 9, [fast, slow], {}), 1.0, timed=False) == []
    assert over_budget(Timings(1000, 9, [fast] * 5, {}), 1.0) == ["all: 4.50 s"]
    assert over_budget(Timings(1000, 9, [fast, slow, large], {}), 2.0) == []
    assert over_budget(Timings(500, 9, [slow], {}), 2.0) == ["slow: 1.10 s, 0.00 MB, 10 samples"]


def test_fleet_asks_for_series_of_hosts_at_one_moment_only() -> None:
    """A graph of 1,000 hosts over 6 hours has 720,000 samples."""
    for panel in Board(dashboards()["hvo-fleet.json"]).panels():
        for target in panel["targets"]:
            graphed = not target.get("instant")
            of_hosts = [s for s in selectors(target["expr"]) if not s.metric.startswith("job")]
            assert not (graphed and of_hosts), panel["title"]
