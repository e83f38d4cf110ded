# SPDX-License-Identifier: Apache-2.0
"""Provisioning files of Grafana and Prometheus."""

import shutil
import subprocess
from pathlib import Path

import yaml

from dashboards.rules import FILES
from tests.tools import need

FOLDER = Path(__file__).parents[2] / "dashboards/provisioning"


def test_grafana_files_have_the_required_keys() -> None:
    boards = yaml.safe_load((FOLDER / "dashboards.yml").read_text())
    assert boards["apiVersion"] == 1
    (provider,) = boards["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")
    assert not provider["allowUiUpdates"]  # like the dashboards, which are not editable
    sources = yaml.safe_load((FOLDER / "datasource.yml").read_text())
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]


def test_prometheus_accepts_its_file_with_our_rules(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "prometheus.yml", tmp_path)
    (tmp_path / "rules").mkdir()
    for path in FILES:
        shutil.copy(path, tmp_path / "rules")
    command = [need("promtool", "prometheus"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout
