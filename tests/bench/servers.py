# SPDX-License-Identifier: Apache-2.0
"""hvoscope on a simulated machine, and the exporters it is measured beside, as processes."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.kernel import tools

HVOSCOPE = [sys.executable, "-c", "from exporter.cli import main; main()"]
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
    """``hvoscope serve`` on a simulated machine of so many nodes."""
    scenario = folder / f"nodes-{nodes}.toml"
    counts = {"few": 4 * nodes, "fewer": 3 * nodes, "many": 509 * nodes, "some": 500 * nodes}
    scenario.write_text(_SCENARIO.format(nodes=nodes, **counts))
    command = [*HVOSCOPE, "serve", "--backend", "sim", "--sim.scenario", str(scenario)]
    command += ["--web.listen-address", "127.0.0.1:0", *options]
    with _process(command, stderr=subprocess.PIPE) as process:
        assert process.stderr
        said = ""
        while not re.search(r"INFO ready$", said, re.MULTILINE):
            line = process.stderr.readline()
            if not line:
                raise RuntimeError(f"hvoscope serve ended: {said}")
            said += line
        (port,) = re.findall(r"listening on http://127\.0\.0\.1:(\d+)", said)
        yield Server("hvoscope", process.pid, int(port))


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
        until = time.monotonic() + _START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("prometheus-node-exporter does not listen")
            time.sleep(0.05)
        yield Server("node_exporter", process.pid, port)


@contextmanager
def _process(
    command: Sequence[str], stdout: int | None = None, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=stdout, stderr=stderr, text=True, cwd=root) as process:
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
