# SPDX-License-Identifier: Apache-2.0
"""The committed JSON is up to date, and meets the requirements of all dashboards."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboards.boards.build import FOLDER, dashboards, stale, texts
from dashboards.lint.model import Board
from dashboards.lint.panel_rules import overlap
from dashboards.render.rows import expanded
from exporter.metrics.catalogue import ALL

ROOT = Path(__file__).parents[2]
MODELS = dashboards()


def test_committed_json_is_up_to_date() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*MODELS, "kustomization.yaml"}
    assert stale(FOLDER) == [], "run python -m dashboards"


def test_a_manually_edited_file_is_stale(tmp_path: Path) -> None:
    for name, text in texts().items():
        (tmp_path / name).write_text(text)
    assert stale(tmp_path) == []
    (tmp_path / "hvo-host.json").write_text("{}")
    (tmp_path / "hvo-fleet.json").unlink()
    assert stale(tmp_path) == ["hvo-fleet.json", "hvo-host.json"]


def test_check_reports_stale_files() -> None:
    command = [sys.executable, "-m", "dashboards", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout == b""


@pytest.mark.parametrize("name", MODELS)
def test_variables_are_from_the_wide_to_the_narrow(name: str) -> None:
    variables = MODELS[name]["templating"]["list"]
    every = ["datasource", "job", "cluster", "instance", "size", "numa_node"]
    assert [v["name"] for v in variables] == (every[:3] if name == "hvo-fleet.json" else every)


def test_host_opens_on_one_host() -> None:
    (instance,) = (
        v for v in MODELS["hvo-host.json"]["templating"]["list"] if v["name"] == "instance"
    )
    assert (instance["multi"], instance["includeAll"]) == (False, False)
    assert instance.get("allValue") is None


@pytest.mark.parametrize("name", MODELS)
def test_no_data_source_is_named(name: str) -> None:
    assert set(_uids(MODELS[name])) == {"${datasource}", MODELS[name]["uid"]}


def _uids(thing: Any) -> list[str]:
    if isinstance(thing, dict):
        own = [thing["uid"]] if "uid" in thing else []
        return own + [uid for value in thing.values() for uid in _uids(value)]
    return [uid for item in thing for uid in _uids(item)] if isinstance(thing, list) else []


def test_links_lead_to_dashboards_that_exist() -> None:
    known = {model["uid"] for model in MODELS.values()}
    for model in MODELS.values():
        for panel in Board(model).panels():
            for link in panel["links"]:
                assert link["url"].split("/")[2] in known, panel["title"]


def test_every_metric_of_the_catalogue_has_a_panel() -> None:
    """A metric without a panel should not exist."""
    everything = json.dumps(list(MODELS.values()))
    unseen = [metric.name for metric in ALL if metric.name not in everything]
    assert unseen == [], "show each metric in a panel of dashboards/boards/, then: make dashboards"


@pytest.mark.parametrize("name", MODELS)
def test_expanded_rows_have_neither_gaps_nor_overlaps(name: str) -> None:
    """The page draws what Grafana shows once all rows are open."""
    shown = expanded(MODELS[name])
    assert [panel["title"] for panel in shown["panels"]] == [
        one["title"]
        for panel in MODELS[name]["panels"]
        for one in (panel, *panel.get("panels", []))
    ]
    assert not list(overlap(Board(shown)))
    lines = {
        line
        for panel in shown["panels"]
        for line in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert lines == set(range(len(lines)))
