# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus on a free port of the loopback, and what can be asked of it."""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dashboards.prove.ports import free_port

PACKAGE = "apt-get install prometheus"
_PATIENCE = 60.0
"""Seconds for it to start."""


class PrometheusError(Exception):
    """Prometheus is missing, does not start, or refuses what it was asked; one line."""


Labels = frozenset[tuple[str, str]]


class Prometheus:
    """One that runs; ``url`` is where."""

    def __init__(self, url: str) -> None:
        """Nothing is asked yet."""
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """``data`` of an answer of the API. Raises ``PrometheusError`` with Prometheus's words."""
        query = urllib.parse.urlencode(parameters)
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", query.encode() or None)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{path} {parameters}: {error.read().decode()}") from error

    def values(self, query: str, at: float) -> dict[Labels, float]:
        """Answer to an instant query: each series' value by its labels."""
        data = self.ask("query", query=query, time=f"{at:.3f}")
        if data["resultType"] == "scalar":
            return {frozenset(): float(data["result"][1])}
        return {
            frozenset(series["metric"].items()): float(series["value"][1])
            for series in data["result"]
        }


@contextmanager
def running(
    storage: Path, config: str, *, retention: str = "10y", stop: threading.Event | None = None
) -> Iterator[Prometheus]:
    """Run one with ``config`` on ``storage`` (a folder), ready when yielded, and end it.

    Setting ``stop`` gives up waiting for its start. Raises ``PrometheusError``.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise PrometheusError(f"there is no prometheus here: {PACKAGE}")
    storage.mkdir(parents=True, exist_ok=True)
    (storage / "prometheus.yml").write_text(config)
    port = free_port()
    log = storage / "prometheus.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={storage / 'prometheus.yml'}",
                f"--storage.tsdb.path={storage / 'data'}",
                f"--storage.tsdb.retention.time={retention}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us: we end it when we are done with it.
            start_new_session=True,
        )
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(lambda: _ready(found, process, log), stop or threading.Event())
        yield found
    finally:
        end(process)


def load(text: Path, storage: Path) -> None:
    """Make blocks of an OpenMetrics file, in ``storage``. Raises ``PrometheusError``."""
    program = shutil.which("promtool")
    if program is None:
        raise PrometheusError(f"there is no promtool here: {PACKAGE}")
    command = [
        program,
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        str(text),
        str(storage / "data"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PrometheusError(f"promtool can't load {text.name}: {done.stderr.strip()}")


def record(prometheus: Prometheus, rules: Path, storage: Path, start: float, end: float) -> None:
    """Make blocks of what ``rules`` would have recorded; to be seen after a restart.

    Raises ``PrometheusError``.
    """
    program = shutil.which("promtool")
    if program is None:
        raise PrometheusError(f"there is no promtool here: {PACKAGE}")
    command = [
        *(program, "tsdb", "create-blocks-from", "rules", f"--url={prometheus.url}"),
        *(f"--start={start:.0f}", f"--end={end:.0f}", "--eval-interval=2m"),
        *(f"--output-dir={storage / 'data'}", str(rules)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PrometheusError(f"promtool can't record {rules.name}: {done.stderr.strip()}")


def end(process: subprocess.Popen[Any]) -> None:
    """Ask a process to end, and wait until it has."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(done: Callable[[], bool], stop: threading.Event) -> None:
    """Ask every so often. Raises ``PrometheusError`` when it takes a minute, or on ``stop``."""
    deadline = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise PrometheusError(f"nothing happened for {_PATIENCE:g} s")
        if stop.wait(0.1):
            raise PrometheusError("stopped")


def _ready(prometheus: Prometheus, process: subprocess.Popen[Any], log: Path) -> bool:
    if process.poll() is not None:
        said = [line for line in log.read_text().splitlines() if re.search("err", line)]
        raise PrometheusError(f"prometheus ended at once: {(said or ['without a word'])[-1]}")
    try:
        with urllib.request.urlopen(f"{prometheus.url}/-/ready", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
