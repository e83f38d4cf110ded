# SPDX-License-Identifier: Apache-2.0
"""Two Prometheus servers share four exporters; a third above them shows the same Fleet.

The configurations are those of ``dashboards/provisioning/``, with other addresses and intervals.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.boards.build import dashboards
from dashboards.demo import exporter
from dashboards.lint.model import Board
from dashboards.prove.prometheus import Labels, Prometheus, running, wait_until
from dashboards.prove.queries import Window, filled_in
from dashboards.rules import FILES
from tests.tools import need

pytestmark = pytest.mark.dashboards

PROVISIONING = Path(__file__).parents[2] / "dashboards/provisioning"
EVERY = "2s"
SCENARIO = """
description = "at rest, so that servers that scrape at different moments see the same"
duration = "1d"

[machine]
kernel = "{kernel}"
nodes = 2
memory-per-node = "16GB"

[[step]]
at = "1s"
do = {operations}
may-fail = true
"""
MACHINES = {
    "vm-host-1": ("7.1", ["grow 1GB 3", "grow 2MB 509"]),
    "database-1": ("6.7", ["grow 2MB 1009", "take 2MB 997"]),
    "build-1": ("6.0", ["grow 2MB 23", "hvo off", "grow 2MB 11"]),
    "trouble-1": ("7.1", ["grow 2MB 229", "pressure 4KB", "shrink 2MB 3", "pressure off"]),
}
"""Kernel and what was done. Free ports hash as they like; these names give each shard two hosts."""
WINDOW = Window(rate=60, shown=3600)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Prometheus]]:
    """Two shards, the server above them, and one that scrapes everything itself."""
    need("prometheus", "prometheus")
    work, stop = tmp_path_factory.mktemp("shards"), threading.Event()
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(exporter(name, _at_rest(work, name), work, stop))
            for name in MACHINES
        }
        shards = [
            stack.enter_context(running(work / f"shard-{n}", _shard(ports, str(n)))) for n in (0, 1)
        ]
        above = stack.enter_context(running(work / "global", _global(shards)))
        single = stack.enter_context(running(work / "single", _shard(ports, "")))
        yield [*shards, above, single]


def _at_rest(work: Path, name: str) -> Path:
    kernel, operations = MACHINES[name]
    path = work / f"{name}.toml"
    path.write_text(SCENARIO.format(kernel=kernel, operations=json.dumps(operations)))
    return path


def _shard(ports: Mapping[str, int], shard: str) -> str:
    text = (PROVISIONING / "prometheus-shard.yml").read_text().replace("SHARD", shard or "0")
    config = yaml.safe_load(text)
    config["global"] |= {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    config["global"]["external_labels"]["shard"] = shard
    config["rule_files"] = [str(path) for path in FILES]
    (job,) = config["scrape_configs"]
    job["job_name"] = "hvoscope-demo"
    job["static_configs"] = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}}
        for name, port in ports.items()
    ]
    hashed, kept = job["relabel_configs"]
    hashed["source_labels"] = ["instance"]
    if not shard:
        job["relabel_configs"] = []
    else:
        kept["regex"] = shard
    return yaml.safe_dump(config)


def _global(shards: list[Prometheus]) -> str:
    config: Any = yaml.safe_load((PROVISIONING / "prometheus-global.yml").read_text())
    config["global"]["scrape_interval"] = EVERY
    targets = [shard.url.removeprefix("http://") for shard in shards]
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    return yaml.safe_dump(config)


def _now(server: Prometheus, query: str) -> dict[Labels, float]:
    return server.values(query, time.time())


def test_shards_share_the_exporters(servers: list[Prometheus]) -> None:
    *shards, _, single = servers
    count = "sum(job:hvo_up:sum)"
    wait_until(lambda: _now(single, count) == {frozenset(): len(MACHINES)}, threading.Event())

    def shared() -> bool:
        found = [sum(_now(shard, count).values()) for shard in shards]
        return sum(found) == len(MACHINES) and min(found) > 0

    wait_until(shared, threading.Event())


@pytest.mark.parametrize(
    "total",
    [
        "sum(job:hvo_up:sum)",
        "sum(job:hvo_enabled:sum)",
        "sum(job:hvo_possible_bytes:sum) > 0",
        "sum(job:hvo_saved_bytes:sum) > 0",
        "count(instance:hvo_up:max)",
        "sum by (kernel) (job_kernel:hvo_backend_info:count)",
    ],
)
def test_totals_above_the_shards_are_those_of_one_server(
    servers: list[Prometheus], total: str
) -> None:
    *_, above, single = servers

    def same() -> bool:
        found = _now(above, total)
        return bool(found) and found == _now(single, total)

    wait_until(same, threading.Event())


def test_every_query_of_fleet_works_above_the_shards(servers: list[Prometheus]) -> None:
    *_, above, single = servers
    for panel in Board(dashboards()["hvo-fleet.json"]).panels():
        for target in panel["targets"]:
            query = filled_in(target["expr"], WINDOW)
            if _now(single, query):
                wait_until(lambda q=query: bool(_now(above, q)), threading.Event())  # type: ignore[misc]
