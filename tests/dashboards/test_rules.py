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
from dashboards.rules import FILES, RUNBOOKS, TESTS, rules
from tests.tools import need

ROOT = Path(__file__).parents[2]
ALERTS = [rule for rule in rules() if rule.kind == "alert"]
RECORDS = [rule for rule in rules() if rule.kind == "record"]
TEST_FILES = sorted(TESTS.glob("*.yml"))

by_name = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.name)


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


def test_promtool_runs_the_unit_tests() -> None:
    done = promtool("test", "rules", *TEST_FILES)
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
    assert re.fullmatch(r"\d+m", rule.written["for"])
    assert rule.written["labels"]["severity"] in ("warning", "critical")
    annotations = rule.written["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert "{{ $labels.instance }}" in annotations["summary"]


@by_name
def test_each_alert_has_a_runbook(rule: Any) -> None:
    url = rule.written["annotations"]["runbook_url"]
    assert url == f"{RUNBOOKS}/{rule.name}.md"
    page = (ROOT / url).read_text()
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    assert titles == [rule.name, "What it means", "How to confirm it", "What to do"]
    index = (ROOT / RUNBOOKS / "README.md").read_text()
    row = f"| [{rule.name}]({rule.name}.md) | {rule.written['labels']['severity']} |"
    assert f"{row} {rule.written['for']} |" in index


def test_every_runbook_has_an_alert_and_no_dead_link() -> None:
    pages = {path.stem for path in (ROOT / RUNBOOKS).glob("*.md")} - {"README"}
    assert pages == {rule.name for rule in ALERTS}
    for path in (ROOT / RUNBOOKS).glob("*.md"):
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
    assert {rule.name for rule in RECORDS} == tested


@pytest.mark.parametrize("rule", [*rules()], ids=lambda rule: rule.name)
def test_metrics_and_labels_are_known(rule: Any) -> None:
    recorded = {record.name for record in RECORDS}
    for selector in selectors(rule.expr):
        if selector.metric in recorded:
            continue
        known = labels_of(selector.metric)
        assert known is not None, selector.metric
        assert {matcher.label for matcher in selector.matchers} <= known


def write(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashboards.rules", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_runbook_urls_can_be_changed(tmp_path: Path) -> None:
    assert write(str(tmp_path), "--runbooks", "https://wiki.example/hvo/").returncode == 0
    text = (tmp_path / "alerts.yml").read_text()
    assert text.count("runbook_url: https://wiki.example/hvo/Hvo") == len(ALERTS)
    assert promtool("check", "rules", tmp_path / "alerts.yml").returncode == 0


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    done = write(str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"can't write {tmp_path}/none/recording.yml: No such file" in done.stderr
