# SPDX-License-Identifier: Apache-2.0
"""hvoscope on a simulated machine, and the exporters it is measured beside, as processes."""

import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.in_guest import ROOT
from tests.exporter.service.test_daemon import daemon, get
from tests.guests import tools
from tests.kernel.workload import wait_for

_START_S = 60.0

# Pools of both sizes on every node, and some of their pages coming and going for ever.
_SCENARIO = """
description = "pools on every node, in motion"
duration = "1d"

[machine]
kernel = "7.1"
nodes = {nodes}
cpus-per-node = 1
memory-per-node = "16GB"

[[step]]
at = "1s"
do = ["resize 1GB {few}", "resize 2MB {many}"]
may-fail = true

[[step]]
at = "2s"
every = "10s"
do = ["resize 2MB {some}", "resize 1GB {fewer}", "resize 2MB {many}", "resize 1GB {few}"]
may-fail = true
"""


class Server(NamedTuple):
    """A process that answers /metrics on the loopback interface."""

    name: str
    pid: int
    port: int


@contextmanager
def hvoscope(folder: Path, nodes: int, *options: str) -> Iterator[Server]:
    """``hvoscope serve`` on a simulated machine of so many nodes, with further options."""
    scenario = folder / f"nodes-{nodes}.toml"
    counts = {"few": 4 * nodes, "fewer": 3 * nodes, "many": 509 * nodes, "some": 500 * nodes}
    scenario.write_text(_SCENARIO.format(nodes=nodes, **counts))
    simulated = ("--backend", "sim", "--sim.scenario", str(scenario))
    with daemon(*simulated, *options) as (process, url, _):
        yield Server("hvoscope", process.pid, int(url.rpartition(":")[2]))


def metrics(server: Server, context: ssl.SSLContext | None = None) -> str:
    """What it answers to a scrape, by TLS with a ``context``."""
    scheme = "https" if context else "http"
    return get(f"{scheme}://127.0.0.1:{server.port}/metrics", context)


def await_pools(server: Server, nodes: int, context: ssl.SSLContext | None = None) -> None:
    """Wait until pools of both sizes have grown on every node. Raises ``TimeoutError``."""
    grown = re.compile(r"^hvo_hugepages_optimized_total\{.*\} [1-9]", re.MULTILINE)
    wait_for(lambda: len(grown.findall(metrics(server, context))) == 2 * nodes, _START_S)


@contextmanager
def bare_exporter(scrape: Path) -> Iterator[Server]:
    """prometheus_client's own server, with the series of a saved scrape."""
    command = [sys.executable, "-m", "tests.bench.peers.bare_exporter", str(scrape)]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield Server("bare prometheus_client", process.pid, int(process.stdout.readline()))


@contextmanager
def node_exporter() -> Iterator[Server]:
    """Debian's prometheus-node-exporter with its default collectors; installed if root may."""
    program = tools.require("node_exporter")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with _process(command, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: _listens(port) or process.poll() is not None, _START_S)
        if process.poll() is not None:
            raise RuntimeError("prometheus-node-exporter ended")
        yield Server("node_exporter", process.pid, port)


@contextmanager
def _process(
    command: Sequence[str], stdout: int | None = None, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=stdout, stderr=stderr, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
