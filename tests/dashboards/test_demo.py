# SPDX-License-Identifier: Apache-2.0
"""The demo as a process: it shows its fleet and leaves no process behind."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.demo import FLEET
from dashboards.prove.prometheus import Prometheus, wait_until
from dashboards.rules import rules
from tests.tools import need

pytestmark = pytest.mark.dashboards

ROOT = Path(__file__).parents[2]
NOW = threading.Event()


class Demo:
    """A running demo."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "dashboards.demo", "--render", "no"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.reported = []
        for line in self.process.stdout:
            self.reported.append(line)
            if "Ctrl-C" in line:
                break
        self.ports = re.findall(r"127\.0\.0\.1:(\d+)/", "".join(self.reported))


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    need("prometheus", "prometheus")
    demo = Demo()
    yield demo
    demo.process.kill()
    demo.process.communicate()


def test_a_fleet_is_scraped_and_rules_are_evaluated(demo: Demo) -> None:
    url = re.search(r"http\S+(?=/alerts)", "".join(demo.reported))
    assert url, demo.reported
    prometheus = Prometheus(url[0])
    expected = {frozenset({("instance", name)}): 1.0 for name in FLEET}

    def all_scraped() -> bool:
        data = prometheus.ask("query", query="max by (instance) (hvo_build_info)")
        found = {frozenset(s["metric"].items()): float(s["value"][1]) for s in data["result"]}
        return found == expected

    def all_evaluated() -> bool:
        groups = prometheus.ask("rules")["groups"]
        found = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
        return found == {rule.name: "ok" for rule in rules()}

    wait_until(all_scraped, NOW)
    wait_until(all_evaluated, NOW)


def test_ctrl_c_stops_it_and_leaves_no_process(demo: Demo) -> None:
    assert len(set(demo.ports)) == len(FLEET) + 1
    assert processes_of(demo.ports)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(timeout=60) == 0
    assert processes_of(demo.ports) == []


def processes_of(ports: list[str]) -> list[str]:
    """Return command lines that contain one of the ports."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # the process has ended
            continue
        if any(f"127.0.0.1:{port}" in command for port in ports):
            found.append(command)
    return found
