# SPDX-License-Identifier: Apache-2.0
"""Rules: promtool checks and unit tests, annotations, runbooks."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.boards.promql import selectors
from dashboards.lint.known import labels_of
from dashboards.rules import FILES, PAGES, RUNBOOKS, TESTS, rules
from tests.tools import need

ROOT = Path(__file__).parents[2]
ALERTS = [rule for rule in rules() if rule.kind == "alert"]
RECORDS = [rule for rule in rules() if rule.kind == "record"]
TEST_FILES = sorted(TESTS.glob("*.yml"))

by_name = pytest.mark.parametrize(
    "rule", ALERTS, ids=lambda rule: f"{rule.name}-{rule.written['labels']['severity']}"
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [need("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


CASES: list[dict[str, Any]] = [
    case
    for path in TEST_FILES
    for test in yaml.safe_load(path.read_text())["tests"]
    for case in test.get("alert_rule_test", [])
]


def test_promtool_check_finds_nothing() -> None:
    done = promtool("check", "rules", *FILES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_promtool_runs_the_unit_tests(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("spoiled", ["({}) * 0 > 1", "({}) > -1 or up >= 0 or vector(1)"])
def test_unit_tests_can_fail(spoiled: str, tmp_path: Path) -> None:
    """The unit tests detect alerts that never fire, or always do."""
    (tmp_path / "tests").mkdir()
    for path in FILES:
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            for written in group["rules"]:
                if "alert" in written:
                    written.update({"expr": spoiled.format(written["expr"]), "for": "0s"})
        (tmp_path / path.name).write_text(yaml.safe_dump(content))
    for path in TEST_FILES:
        (tmp_path / "tests" / path.name).write_text(path.read_text())
    done = promtool("test", "rules", tmp_path / "tests/alerts.yml")
    assert done.returncode == 1
    failed = set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
    assert failed == {rule.name for rule in ALERTS}


@by_name
def test_each_alert_is_complete(rule: Any) -> None:
    assert re.fullmatch(r"\d+[mh]", rule.written["for"])
    assert rule.written["labels"]["severity"] in ("info", "warning", "critical")
    annotations = rule.written["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert "{{ $labels.instance }}" in annotations["summary"]


@by_name
def test_each_alert_has_a_runbook(rule: Any) -> None:
    assert rule.written["annotations"]["runbook_url"] == f"{RUNBOOKS}/{rule.name}.md"
    page = (PAGES / f"{rule.name}.md").read_text()
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    assert titles == [rule.name, "What it means", "How to confirm it", "What to do"]
    severities = [r.written["labels"]["severity"] for r in ALERTS if r.name == rule.name]
    row = f"| [{rule.name}]({rule.name}.md) | {' or '.join(severities)} |"
    assert f"{row} {rule.written['for']} |" in (PAGES / "README.md").read_text()


def test_every_runbook_has_an_alert_and_no_dead_link() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == {rule.name for rule in ALERTS}
    for path in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_each_alert_is_tested_to_fire_and_to_be_silent() -> None:
    for rule in ALERTS:
        own = [case for case in CASES if case["alertname"] == rule.name]
        assert any(case["exp_alerts"] for case in own), rule.name
        assert any(not case["exp_alerts"] for case in own), rule.name


def test_each_record_is_tested() -> None:
    tested = {
        expected["expr"]
        for path in TEST_FILES
        for test in yaml.safe_load(path.read_text())["tests"]
        for expected in test.get("promql_expr_test", [])
    }
    assert {rule.name for rule in RECORDS} <= tested


@pytest.mark.parametrize("rule", [*rules()], ids=lambda rule: f"{rule.kind}-{rule.name}")
def test_no_label_of_a_target_is_lost(rule: Any) -> None:
    """``by`` and ``on`` name the labels that stay: cluster, team and namespace would not."""
    assert not re.search(r"\b(by|on)\s*\(", rule.expr)


def test_situations_are_many() -> None:
    situations = [
        test
        for path in TEST_FILES
        for test in yaml.safe_load(path.read_text())["tests"]
        if test.get("name")
    ]
    assert len(situations) >= 100


@pytest.mark.parametrize("rule", [*rules()], ids=lambda rule: f"{rule.kind}-{rule.name}")
def test_metrics_and_labels_are_known(rule: Any) -> None:
    recorded = {record.name for record in RECORDS}
    for selector in selectors(rule.expr):
        if selector.metric in recorded | {"ALERTS"}:
            continue
        known = labels_of(selector.metric)
        assert known is not None, selector.metric
        assert {matcher.label for matcher in selector.matchers} <= known


def write(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashboards.rules", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_without_options_the_rules_are_the_committed_ones(tmp_path: Path) -> None:
    assert write(str(tmp_path)).returncode == 0
    for path in FILES:
        assert yaml.safe_load((tmp_path / path.name).read_text()) == yaml.safe_load(
            path.read_text()
        )


def test_runbook_urls_can_be_changed(tmp_path: Path) -> None:
    assert write(str(tmp_path), "--runbooks", "https://wiki.example/hvo/").returncode == 0
    text = (tmp_path / "alerts.yml").read_text()
    assert text.count("runbook_url: https://wiki.example/hvo/Hvo") == len(ALERTS)
    assert promtool("check", "rules", tmp_path / "alerts.yml").returncode == 0


OPTIONS = ("--selector", 'job="hvo", env=~"prod.*"', "--label", "team=db", "--label", "tier=2")


def test_a_selector_is_in_every_selector_of_a_metric(tmp_path: Path) -> None:
    assert write(str(tmp_path), *OPTIONS, "--host-labels", "instance,machine").returncode == 0
    recorded = {record.name for record in RECORDS}
    for path in FILES:
        for group in yaml.safe_load((tmp_path / path.name).read_text())["groups"]:
            for rule in group["rules"]:
                for selector in selectors(rule["expr"]):
                    chosen = {(m.label, m.value) for m in selector.matchers}
                    if selector.metric.startswith("hvo_"):
                        assert {("job", "hvo"), ("env", "prod.*")} <= chosen, rule
                    elif selector.metric in recorded:
                        assert not chosen & {("job", "hvo"), ("env", "prod.*")}, rule
                assert "pod" not in rule["expr"]
    assert promtool("check", "rules", *tmp_path.glob("*.yml")).returncode == 0


def test_the_rules_with_options_work(tmp_path: Path) -> None:
    """Alerts of the selected job fire with the labels, and nothing of another job does."""
    assert write(str(tmp_path), *OPTIONS).returncode == 0
    series = [
        {"series": f'{name}{{job="{job}", instance="a", env="prod-1"{more}}}', "values": "0x60"}
        for job in ("hvo", "hvoscope")
        for name, more in (("up", ""), ("hvo_scrape_collector_success", ', collector="pools"'))
    ]
    labels = 'alertstate="firing", severity="warning", job="hvo", instance="a", env="prod-1"'
    alerts = [
        {"labels": f'ALERTS{{alertname="{name}", team="db", tier="2", {labels}}}', "value": 1}
        for name in ("HvoCollectorFailed", "HvoExporterDown")
    ]
    weight = 'instance:hvo_alerts:weight{job="hvo", instance="a", env="prod-1"}'
    checks = [
        {"expr": "ALERTS", "eval_time": "40m", "exp_samples": alerts},
        {
            "expr": "instance:hvo_alerts:weight",
            "eval_time": "40m",
            "exp_samples": [{"labels": weight, "value": 20}],
        },
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    text = {"rule_files": ["recording.yml", "alerts.yml"], "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(text))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--selector", "hvo"), "invalid --selector 'hvo' (expected 'job=\"hvo\"')"),
        (("--selector", 'job="a"} or up{x="y"'), "invalid --selector "),
        (("--label", "team"), "invalid --label 'team' (expected NAME=VALUE)"),
        (("--label", "9=x"), "invalid label name '9' (expected letters, digits, underscores)"),
        (("--host-labels", "a b"), "invalid label name 'a b' "),
        (("--runbooks", "wiki"), "invalid --runbooks 'wiki' (expected https://...)"),
    ],
)
def test_an_invalid_option_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = write(str(tmp_path), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    done = write(str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"can't write {tmp_path}/none/recording.yml: No such file" in done.stderr
