# SPDX-License-Identifier: Apache-2.0
"""Our dashboards have no lint findings; a finding names its panel and rule."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.boards.build import FOLDER
from dashboards.lint import EXCLUSIONS, LINTER, OWN, lint
from dashboards.lint.model import Board

Model = dict[str, Any]

COMMITTED = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANEL = "PTEs remapped and restored"

# Grafana's dashboard-linter, docs/index.md: its rules by name.
THE_SEVENTEEN = {
    "template-datasource-rule",
    "template-job-rule",
    "template-instance-rule",
    "template-label-promql-rule",
    "template-on-time-change-reload-rule",
    "panel-datasource-rule",
    "panel-title-description-rule",
    "panel-units-rule",
    "panel-no-targets-rule",
    "target-logql-rule",
    "target-logql-auto-rule",
    "target-promql-rule",
    "target-rate-interval-rule",
    "target-job-rule",
    "target-instance-rule",
    "target-counter-agg-rule",
    "uneditable-dashboard-rule",
}


@pytest.mark.parametrize("name", COMMITTED)
def test_our_dashboards_have_no_findings(name: str) -> None:
    assert [str(finding) for finding in lint(COMMITTED[name])] == []


def test_all_seventeen_rules_exist() -> None:
    assert set(LINTER) == THE_SEVENTEEN


def panel_of(model: Model, title: str = PANEL) -> Model:
    return next(panel for panel in Board(model).panels() if panel["title"] == title)


def variable_of(model: Model, name: str) -> Model:
    found = Board(model).variable(name)
    assert found is not None
    return found


def expr(text: str) -> Callable[[Model], None]:
    """Replace the panel's first query."""

    def spoil(model: Model) -> None:
        panel_of(model)["targets"][0]["expr"] = text

    return spoil


def panel(**changes: Any) -> Callable[[Model], None]:
    return lambda model: panel_of(model).update(changes)


def variable(name: str, **changes: Any) -> Callable[[Model], None]:
    return lambda model: variable_of(model, name).update(changes)


def defaults(**changes: Any) -> Callable[[Model], None]:
    return lambda model: panel_of(model)["fieldConfig"]["defaults"].update(changes)


def target(**changes: Any) -> Callable[[Model], None]:
    return lambda model: panel_of(model)["targets"][0].update(changes)


def without_datasource_variable(model: Model) -> None:
    model["templating"]["list"] = [
        v for v in model["templating"]["list"] if v["type"] != "datasource"
    ]


def onto_its_neighbor(model: Model) -> None:
    panel_of(model)["gridPos"]["y"] += 1


HOSTS = 'job=~"$job", instance=~"$instance"'
SPOILED: list[tuple[str, str, Callable[[Model], None], str]] = [
    ("template-datasource-rule", "", without_datasource_variable, "0 variables"),
    ("template-datasource-rule", "", variable("datasource", label="Source"), "label"),
    ("template-datasource-rule", "", variable("datasource", query="loki"), "Prometheus"),
    ("template-job-rule", "", variable("job", multi=False), "multi is False"),
    (
        "template-job-rule",
        "",
        lambda m: variable_of(m, "job").update(name="jobs"),
        "no variable job",
    ),
    ("template-instance-rule", "", variable("instance", allValue=".*"), "allValue"),
    ("template-instance-rule", "", variable("instance", datasource={"uid": "P1"}), "source"),
    ("template-label-promql-rule", "", variable("size", query="hvo_enabled"), "label_values"),
    (
        "template-label-promql-rule",
        "",
        variable("size", query="label_values(hvo_enabled{, size)"),
        "size",
    ),
    ("template-on-time-change-reload-rule", "", variable("numa_node", refresh=1), "refresh"),
    ("uneditable-dashboard-rule", "", lambda m: m.update(editable=True), "editable"),
    ("panel-datasource-rule", PANEL, panel(datasource={"uid": "P1809F7CD0C75ACF3"}), "P1809"),
    ("panel-datasource-rule", PANEL, target(datasource={"uid": "mine"}), "mine"),
    ("panel-title-description-rule", PANEL, panel(description=" "), "no description"),
    ("panel-title-description-rule", "#", lambda m: panel_of(m).update(title=""), "no title"),
    ("panel-units-rule", PANEL, defaults(unit=""), "no unit"),
    ("panel-units-rule", PANEL, defaults(unit="furlongs"), "furlongs"),
    ("panel-no-targets-rule", PANEL, panel(targets=[]), "no query"),
    ("target-logql-rule", PANEL, target(datasource={"type": "loki", "uid": "${datasource}"}), "L"),
    ("target-logql-auto-rule", PANEL, expr("rate({job=~'$job'}[$__auto])"), "$__auto"),
    ("target-promql-rule", PANEL, expr("sum by (size (hvo_enabled)"), "query A"),
    ("target-promql-rule", PANEL, expr(""), "no expression"),
    (
        "target-rate-interval-rule",
        PANEL,
        expr(f"sum(rate(hvo_ptes_remapped_total{{{HOSTS}}}[5m]))"),
        "over 300s",
    ),
    (
        "target-job-rule",
        PANEL,
        expr('hvo_enabled{instance=~"$instance"}'),
        'hvo_enabled lacks job=~"$job"',
    ),
    ("target-instance-rule", PANEL, expr('hvo_enabled{job=~"$job", instance="a"}'), "lacks"),
    (
        "target-counter-agg-rule",
        PANEL,
        expr(f"sum(hvo_ptes_remapped_total{{{HOSTS}}})"),
        "is a counter",
    ),
    ("target-known-names", PANEL, expr(f"hvo_ptes_moved{{{HOSTS}}}"), "hvo_ptes_moved"),
    ("target-known-names", PANEL, expr(f'hvo_enabled{{{HOSTS}, size="2MB"}}'), "label size"),
    ("target-legend", PANEL, target(legendFormat=""), "no legend"),
    ("panel-thresholds", PANEL, defaults(thresholds={}), "no thresholds"),
    ("panel-thresholds", PANEL, defaults(thresholds={"steps": [{"color": "red"}]}), "red"),
    ("panel-links", PANEL, panel(links=[]), "no link"),
    ("panel-overlap", PANEL, onto_its_neighbor, "overlaps panel"),
    ("panel-overlap", PANEL, panel(gridPos={"x": 20, "w": 8, "y": 900, "h": 1}), "column 24"),
    ("panel-identity", PANEL, panel(id=2), "duplicate ID 2"),
    ("panel-identity", "HVO switch", panel(title="HVO switch"), "duplicate title 'HVO switch'"),
]


@pytest.mark.parametrize(("rule", "where", "spoil", "says"), SPOILED)
def test_a_finding_names_rule_and_panel(
    rule: str, where: str, spoil: Callable[[Model], None], says: str
) -> None:
    # Host has no choice of several instances to spoil.
    which = "hvo-kernel" if rule == "template-instance-rule" else "hvo-host"
    model = copy.deepcopy(COMMITTED[f"{which}.json"])
    spoil(model)
    found = [finding for finding in lint(model) if finding.rule == rule]
    assert found, [str(finding) for finding in lint(model)]
    assert found[0].dashboard == model["title"]
    if where:
        assert any(finding.panel.startswith(where) for finding in found)
    assert says in " ".join(str(finding) for finding in found)


def test_every_rule_can_fail() -> None:
    assert {rule for rule, *_ in SPOILED} == {*LINTER, *OWN}


def test_exclusions_are_needed_and_have_reasons() -> None:
    """Each names a rule that its panel, or its dashboard, would violate."""
    for excluded in EXCLUSIONS:
        model = copy.deepcopy(
            next(m for m in COMMITTED.values() if m["title"] == excluded.dashboard)
        )
        model["title"] = "under another name"
        broken = {(finding.panel, finding.rule) for finding in lint(model)}
        panels = {panel for panel, rule in broken if rule == excluded.rule}
        assert panels if excluded.panel == "*" else excluded.panel in panels
        assert excluded.reason


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashboards.lint", *arguments]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_command_names_dashboard_panel_and_rule(tmp_path: Path) -> None:
    model = copy.deepcopy(COMMITTED["hvo-host.json"])
    expr("hvo_ptes_moved{")(model)
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(model))
    done = run(str(path))
    assert done.returncode == 1
    assert done.stdout.startswith(f"HVO / Host: panel '{PANEL}': target-promql-rule: query A: ")
    assert done.stdout.endswith("1 dashboards, 1 findings\n")


def test_the_command_rejects_a_file_that_is_not_a_dashboard(tmp_path: Path) -> None:
    path = tmp_path / "no.json"
    path.write_text("{")
    done = run(str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{path}: not a dashboard" in done.stderr
