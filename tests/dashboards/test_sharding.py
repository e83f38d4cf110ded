# SPDX-License-Identifier: Apache-2.0
"""Two Prometheus servers share four exporters; a third above them shows the same Fleet.

The configurations are those of ``dashboards/provisioning/``, with other addresses and intervals.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.boards.build import dashboards
from dashboards.demo import FLEET, exporter
from dashboards.lint.model import Board
from dashboards.prove.prometheus import Labels, Prometheus, running, wait_until
from dashboards.prove.queries import Window, filled_in
from dashboards.rules import FILES
from tests.tools import need

pytestmark = pytest.mark.dashboards

PROVISIONING = Path(__file__).parents[2] / "dashboards/provisioning"
EVERY = "2s"
WINDOW = Window(rate=60, shown=3600)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Prometheus]]:
    """Two shards, the server above them, and one that scrapes everything itself."""
    need("prometheus", "prometheus")
    work, stop = tmp_path_factory.mktemp("shards"), threading.Event()
    with ExitStack() as stack:
        ports = {n: stack.enter_context(exporter(n, work, stop)) for n in FLEET}
        shards = [
            stack.enter_context(running(work / f"shard-{n}", _shard(ports, str(n)))) for n in (0, 1)
        ]
        above = stack.enter_context(running(work / "global", _global(shards)))
        single = stack.enter_context(running(work / "single", _shard(ports, "")))
        yield [*shards, above, single]


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
    # Free ports hash as they like; names give each shard two of the four hosts.
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
    wait_until(lambda: _now(single, count) == {frozenset(): len(FLEET)}, threading.Event())

    def shared() -> bool:
        found = [sum(_now(shard, count).values()) for shard in shards]
        return sum(found) == len(FLEET) and min(found) > 0

    wait_until(shared, threading.Event())


@pytest.mark.parametrize(
    "total",
    [
        "sum(job:hvo_up:sum)",
        "sum(job:hvo_enabled:sum)",
        "sum(job:hvo_possible_bytes:sum) > 0",
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
