# SPDX-License-Identifier: Apache-2.0
"""Every query of every panel and rule, run on a real Prometheus that has a day of five machines.

The answers must be what the simulated machines know to be true, at moments when all is well, when
memory is short, when probes miss hits, and when everything is slow.
"""

import math
import re
from urllib.parse import urlencode

import pytest

from dashboards.boards.build import dashboards
from dashboards.boards.promql import selectors
from dashboards.prove.history import END, EVERY, START, WINDOW, Day
from dashboards.prove.openmetrics import JOB
from dashboards.prove.queries import Query, filled_in, of_panels, of_rules
from exporter.metrics.catalogue import ALL
from probes.observation import known
from tests.dashboards.expected import PANELS, RULES
from tests.dashboards.oracle import Labels, Oracle, Values

pytestmark = pytest.mark.dashboards

MOMENTS = {
    "all is well": 12 * 3600.0,
    "no memory to optimize": 19.9 * 3600,
    "probes miss hits": 20.9 * 3600,
    "slow": 21.4 * 3600,
    "no memory to restore": 22.4 * 3600,
    "one gone, one switched off": END - START,
}
QUERIES = [*of_panels(WINDOW), *of_rules()]
EXPECTED = {**PANELS, **RULES}


def key(query: Query) -> tuple[str, str, str]:
    return query.where, query.title, query.ref


def needs_a_live_kernel(query: Query) -> bool:
    """Tell whether only a live kernel has its metrics (BPF maps); see dashboards.prove --scrape."""
    live_only = {metric.exposed_name for metric in ALL if "sim" not in metric.backends}
    metrics = {selector.metric for selector in selectors(query.expr)}
    return metrics <= live_only


@pytest.mark.parametrize("moment", MOMENTS)
def test_results_equal_the_oracle(history: Day, moment: str) -> None:
    at = MOMENTS[moment]
    oracle = Oracle(history.machines, at, WINDOW, EVERY)
    wrong = []
    for query in QUERIES:
        if needs_a_live_kernel(query) or key(query) not in EXPECTED:
            continue
        answer = _plain(history.prometheus.values(query.expr, START + at + _later(query)))
        right = EXPECTED[key(query)](oracle)
        if not _same(answer, right):
            wrong.append(f"{query.name}\n  is     {_text(answer)}\n  not    {_text(right)}")
    assert not wrong, "\n".join(wrong)


def test_every_panel_has_a_result(history: Day) -> None:
    """Every query of a panel has a result at some time."""
    empty = {
        query.name
        for query in of_panels(WINDOW)
        if not any(
            history.prometheus.values(query.expr, START + at + _later(query))
            for at in MOMENTS.values()
        )
    }
    live = {query.name for query in QUERIES if needs_a_live_kernel(query)}
    # Of these there is none in the fleet.
    none = {"hvo-kernel: Failed collectors: A", "hvo-kernel: Known kernel bugs: A"}
    assert empty == live | none


def test_hosts_with_problems_are_first(history: Day) -> None:
    """edge-1 has most alerts, and nobody else's targets are hosts."""
    (query,) = (q for q in QUERIES if key(q) == ("hvo-fleet", "Hosts", "A"))
    found = history.prometheus.values(query.expr, START + MOMENTS["no memory to restore"])
    hosts = {dict(labels)["instance"]: weight for labels, weight in found.items()}
    assert set(hosts) == {machine.instance for machine in history.machines}
    assert {dict(labels)["job"] for labels in found} == {JOB}
    assert max(hosts, key=lambda host: hosts[host]) == "edge-1:10917"
    assert hosts["vm-host-1:10917"] == 0


@pytest.mark.parametrize("uid", ["hvo-host", "hvo-fleet", "hvo-kernel"])
def test_variables_list_existing_values(history: Day, uid: str) -> None:
    """Query label values as Grafana does."""
    offered = {}
    for variable in dashboards()[f"{uid}.json"]["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found
            answer = history.prometheus.ask(
                f"label/{found[2]}/values?"
                + urlencode({"match[]": filled_in(found[1], WINDOW), "start": START, "end": END})
            )
            offered[variable["name"]] = sorted(answer)
    expected = {
        "job": [JOB],
        "cluster": ["ams", "fra"],
        "instance": sorted(machine.instance for machine in history.machines),
        "size": ["1GB", "2MB"],
        "numa_node": ["0", "1"],
    }
    assert offered == {name: expected[name] for name in offered}
    assert {"job", "cluster"} <= set(offered)


def test_machines_show_their_problems(history: Day) -> None:
    """The compared values are not all 0."""
    last = {machine.instance: machine.truths[-1].seen for machine in history.machines}
    edge = last["edge-1:10917"]
    assert edge.counters.total("optimize_failures", "ENOMEM")
    assert edge.counters.total("restore_failures", "ENOMEM")
    assert edge.status.missed["remap_pte"] and edge.status.lost["queue"] and known(edge.drift)
    assert last["build-1:10917"].counters.total("hugepages_skipped", "off")
    for machine in ("vm-host-1", "database-1"):
        memmap = known(last[f"{machine}:10917"].memmap)
        assert memmap and (known(memmap.saved_bytes) or 0) > 100 << 20
        assert last[f"{machine}:10917"].drift == 0


def _later(query: Query) -> float:
    """Seconds after which the values of a scrape are recorded, before the next one."""
    recorded = any(":" in selector.metric for selector in selectors(query.expr))
    return EVERY - 1 if recorded else 0.0


def _plain(values: Values) -> Values:
    """Remove the metric's name."""
    return {frozenset(x for x in labels if x[0] != "__name__"): v for labels, v in values.items()}


def _same(answer: Values, right: Values) -> bool:
    return answer.keys() == right.keys() and all(
        (math.isnan(answer[k]) and math.isnan(right[k]))
        or math.isclose(answer[k], right[k], rel_tol=1e-9, abs_tol=1e-12)
        for k in right
    )


def _text(values: Values) -> str:
    def label(labels: Labels) -> str:
        return ",".join(f"{name}={value}" for name, value in sorted(labels)) or "-"

    return "; ".join(sorted(f"{label(labels)}: {value!r}" for labels, value in values.items()))
