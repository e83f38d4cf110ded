# SPDX-License-Identifier: Apache-2.0
"""The example for Alertmanager: amtool checks it, and a real Alertmanager inhibits by it."""

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.prove.ports import free_port
from dashboards.prove.prometheus import end, wait_until
from dashboards.rules import rules
from tests.tools import need

CONFIG = Path(__file__).parents[2] / "dashboards/alertmanager/alertmanager.yml"
HOST = {"job": "hvoscope", "instance": "node-1", "cluster": "fra"}
NAMES = {rule.name for rule in rules() if rule.kind == "alert"}
PACKAGE = "prometheus-alertmanager"


def amtool(*arguments: str) -> str:
    command = [need("amtool", PACKAGE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_accepts_it() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pager"), ("warning", "tickets"), ("info", "chat")]
)
def test_severities_have_receivers(severity: str, receiver: str) -> None:
    route = ("config", "routes", "test", f"--config.file={CONFIG}")
    for name in ("HvoRestoreFailures", "HvoSwitchedOnLate"):
        found = amtool(*route, f"alertname={name}", f"severity={severity}", "cluster=fra")
        assert found.strip() == receiver
    # Alerts of others do not go where ours go.
    assert amtool(*route, "alertname=Other", f"severity={severity}").strip() == "tickets"


def test_inhibition_rules_name_alerts_that_exist() -> None:
    named = set()
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            named |= set(re.findall(r"Hvo\w+", matcher))
    assert named
    assert named <= NAMES


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run an Alertmanager on loopback; yield its URL."""
    program = need("prometheus-alertmanager", PACKAGE)
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    command = [
        *(program, f"--config.file={CONFIG}", f"--storage.path={folder}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return bool(urllib.request.urlopen(f"{url}/-/ready", timeout=5).status == 200)
        except OSError:
            return False

    try:
        wait_until(ready, threading.Event())
        yield url
    finally:
        end(process)


def inhibited(url: str, *alerts: dict[str, str]) -> set[str]:
    """Send alerts of a host of its own; return the names of those that are inhibited."""
    own = {"namespace": f"test-{free_port()}"}
    body = json.dumps([{"labels": {**HOST, **own, **alert}} for alert in alerts]).encode()
    request = urllib.request.Request(
        f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()
    wanted = f"{url}/api/v2/alerts?filter=namespace%3D%22{own['namespace']}%22"
    found: list[Any] = []

    def stored() -> bool:
        nonlocal found
        with urllib.request.urlopen(wanted, timeout=10) as answer:
            found = json.load(answer)
        return len(found) == len(alerts)

    wait_until(stored, threading.Event())
    return {a["labels"]["alertname"] for a in found if a["status"]["inhibitedBy"]}


def alert(name: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, **labels}


@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("HvoExporterDown", NAMES - {"HvoExporterDown", "HvoSimulated"}),
        ("HvoSimulated", NAMES - {"HvoExporterDown", "HvoSimulated"}),
        ("HvoKernelBug", {"HvoAccountingDrift", "HvoSurplusGrowth"}),
        ("HvoProbeMissed", {"HvoAccountingDrift", "HvoCensusMissing"}),
        ("HvoNoProbes", {"HvoAccountingDrift", "HvoCensusMissing"}),
        ("HvoOptimizeFailures", {"HvoNotSaving"}),
        ("HvoNotSaving", {"HvoSwitchedOnLate"}),
    ],
)
def test_one_cause_is_one_alert(alertmanager: str, source: str, targets: set[str]) -> None:
    others = NAMES - {source} if source in ("HvoExporterDown", "HvoSimulated") else targets
    sent = [alert(name) for name in {source, *others, "HvoSwitchedOff"}]
    assert inhibited(alertmanager, *sent) == targets


def test_another_size_or_cluster_is_another_cause(alertmanager: str) -> None:
    failing = alert("HvoRestoreFailures", size="2MB", error="ENOMEM")
    assert inhibited(alertmanager, failing, alert("HvoSurplusGrowth", size="2MB")) == {
        "HvoSurplusGrowth"
    }
    assert inhibited(alertmanager, failing, alert("HvoSurplusGrowth", size="1GB")) == set()
    down = alert("HvoExporterDown")
    assert inhibited(alertmanager, down, alert("HvoProbeMissed", cluster="ams")) == set()
