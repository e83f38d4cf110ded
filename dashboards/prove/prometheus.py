# SPDX-License-Identifier: Apache-2.0
"""Run a real Prometheus on a free loopback port, and query it."""

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
_START_SECONDS = 60.0
"""Time for it to start."""


class PrometheusError(Exception):
    """Prometheus is missing, does not start, or rejects a request; the message is one line."""


Labels = frozenset[tuple[str, str]]


class Prometheus:
    """A running Prometheus at ``url``."""

    def __init__(self, url: str) -> None:
        """Store the URL; no request is made."""
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """Return ``data`` of an API response. Raises ``PrometheusError`` with its error text."""
        query = urllib.parse.urlencode(parameters)
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", query.encode() or None)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{path} {parameters}: {error.read().decode()}") from error

    def values(self, query: str, at: float) -> dict[Labels, float]:
        """Run an instant query; return values by labels."""
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
    """Run a Prometheus with ``config`` in the folder ``storage``; yield it when it is ready.

    Setting ``stop`` cancels waiting for its start. Raises ``PrometheusError``.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise PrometheusError(f"prometheus is not installed: {PACKAGE}")
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
            # Ctrl-C must only reach this process, which then terminates Prometheus.
            start_new_session=True,
        )
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(lambda: _ready(found, process, log), stop or threading.Event())
        yield found
    finally:
        end(process)


def load(text: Path, storage: Path) -> None:
    """Import an OpenMetrics file into ``storage``. Raises ``PrometheusError``."""
    program = shutil.which("promtool")
    if program is None:
        raise PrometheusError(f"promtool is not installed: {PACKAGE}")
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
    """Backfill the recording rules of ``rules``; visible after a restart of Prometheus.

    Raises ``PrometheusError``.
    """
    program = shutil.which("promtool")
    if program is None:
        raise PrometheusError(f"promtool is not installed: {PACKAGE}")
    command = [
        *(program, "tsdb", "create-blocks-from", "rules", f"--url={prometheus.url}"),
        *(f"--start={start:.0f}", f"--end={end:.0f}", "--eval-interval=2m"),
        *(f"--output-dir={storage / 'data'}", str(rules)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PrometheusError(f"promtool can't record {rules.name}: {done.stderr.strip()}")


def end(process: subprocess.Popen[Any]) -> None:
    """Terminate a process and wait for it."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(done: Callable[[], bool], stop: threading.Event) -> None:
    """Poll ``done``. Raises ``PrometheusError`` after a minute, or on ``stop``."""
    deadline = time.monotonic() + _START_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise PrometheusError(f"timeout after {_START_SECONDS:g} s")
        if stop.wait(0.1):
            raise PrometheusError("stopped")


def _ready(prometheus: Prometheus, process: subprocess.Popen[Any], log: Path) -> bool:
    if process.poll() is not None:
        errors = [line for line in log.read_text().splitlines() if re.search("err", line)]
        reason = (errors or ["no error in its log"])[-1]
        raise PrometheusError(f"prometheus failed to start: {reason}")
    try:
        with urllib.request.urlopen(f"{prometheus.url}/-/ready", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
