# SPDX-License-Identifier: Apache-2.0
"""Every alert fires on a simulated machine: promtool runs the rules on its scrapes.

At each moment the alerts that fire are exactly these: all others are silent.
"""

import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from dashboards.boards.promql import selectors
from dashboards.demo import TIME_SCALE
from dashboards.prove.history import MACHINES
from dashboards.prove.openmetrics import JOB
from dashboards.prove.watch import Labels, Watched, watch
from dashboards.rules import FILES, rules
from sim_backend.scenario.file import load
from tests.tools import need

pytestmark = pytest.mark.dashboards

OWN = Path(__file__).parent / "scenarios"
EVERY = 15
"""Seconds between two scrapes."""
AFTERWARDS = 30
"""Minutes during which the exporter is down after the scenario."""


class AlertCase(NamedTuple):
    """A scenario, its time scale, and the alerts that fire, by minutes since its start."""

    scenario: str
    time_scale: float
    firing: Mapping[int, Iterable[str]]


ALERT_CASES = (
    AlertCase("database", 1, {30: (), 59: ()}),
    AlertCase("leak", 1, {30: (), 59: ()}),
    AlertCase("switched-on-late", 1, {10: (), 28: ["HvoSwitchedOnLate"], 39: ()}),
    AlertCase(
        "memory-pressure",
        0.25,
        {
            10: (),
            20: ["HvoOptimizeFailures"],
            60: ["HvoRestoreFailures"],
        },
    ),
    AlertCase(
        "probe-loss",
        0.5,
        {
            4: (),
            9: ["HvoCountsLost"],
            27: ["HvoAccountingDrift", "HvoProbeMissed"],
            49: ["HvoProbeDetached"],
        },
    ),
    AlertCase("slow-machine", 0.125, {70: (), 110: ["HvoOptimizeSlow"]}),
    AlertCase(str(OWN / "switched-off.toml"), 1, {9: (), 30: ["HvoSwitchedOff"]}),
    # What make demo promises.
    AlertCase(str(MACHINES / "demo/trouble-1.toml"), TIME_SCALE, {5: ["HvoOptimizeFailures"]}),
    AlertCase("boot-pool", 1, {9: (), 17: (), 29: ["HvoExporterDown"]}),
)


@pytest.mark.parametrize("case", ALERT_CASES, ids=lambda case: Path(case.scenario).stem)
def test_alerts_of_a_scenario(case: AlertCase, tmp_path: Path) -> None:
    seen = watch(load(case.scenario), every=EVERY, time_scale=case.time_scale)
    (tmp_path / "test.yml").write_text(yaml.safe_dump(_promtool_test(seen, case.firing)))
    command = [need("promtool", "prometheus"), "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


WITHOUT_SCENARIO = {
    "HvoCensusMissing",
    "HvoCollectorFailed",
    "HvoKernelBug",
    "HvoNoProbes",
    "HvoNotSaving",
    "HvoSimulated",
    "HvoSurplusGrowth",
}
"""What the simulator can't show, or what takes an hour: promtool's situations have them."""


def test_each_alert_fires_in_a_scenario() -> None:
    fired = {name for case in ALERT_CASES for names in case.firing.values() for name in names}
    alerts = {rule.name for rule in rules() if rule.kind == "alert"}
    assert fired == alerts - WITHOUT_SCENARIO


def _promtool_test(seen: Watched, firing: Mapping[int, Iterable[str]]) -> dict[str, Any]:
    expected = [
        {
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
        }
        for minute, names in firing.items()
    ]
    return {
        "rule_files": [str(path) for path in FILES],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": f"{EVERY}s",
                "input_series": list(_input_series(seen)),
                "promql_expr_test": expected,
            }
        ],
    }


def _input_series(seen: Watched) -> Iterable[dict[str, str]]:
    wanted = {selector.metric for rule in rules() for selector in selectors(rule.expr)}
    series: dict[tuple[str, Labels], dict[int, float]] = defaultdict(dict)
    for number, scrape in enumerate(seen.scrapes):
        for sample in scrape:
            if sample.name in wanted:
                series[sample.name, sample.labels][number] = sample.value
    for (name, labels), values in series.items():
        yield {"series": _head(name, labels), "values": _values(values, len(seen.scrapes))}
    down = AFTERWARDS * 60 // EVERY
    yield {"series": _head("up", ()), "values": f"1x{len(seen.scrapes) - 1} 0x{down}"}


def _head(name: str, labels: Labels) -> str:
    every = (*labels, ("instance", "simulated"), ("job", JOB))
    return name + "{" + ", ".join(f'{label}="{value}"' for label, value in every) + "}"


def _values(values: Mapping[int, float], scrapes: int) -> str:
    """Return one value per scrape; a missing one makes the series stale, as in Prometheus."""
    return " ".join([*(_value(values.get(number)) for number in range(scrapes)), "stale"])


def _value(value: float | None) -> str:
    return "stale" if value is None else f"{value!r}"
