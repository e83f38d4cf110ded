# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards.demo``: a simulated fleet, a real Prometheus with the rules, dashboards.

Everything listens on free loopback ports and ends with Ctrl-C.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import yaml

from dashboards.prove.history import MACHINES
from dashboards.prove.ports import free_port
from dashboards.prove.prometheus import PrometheusError, end, running, wait_until
from dashboards.render.packages import PACKAGES_MB, RenderError, build, installed
from dashboards.render.site import Settings, serving
from dashboards.rules import FILES

FLEET = ("vm-host-1", "database-1", "build-1", "trouble-1")
JOB = "hvoscope-demo"
"""A name that says that the targets are simulated: see the alert HvoSimulated."""
TIME_SCALE = 96
"""A day of the fleet in a quarter of an hour."""
SCRAPE_SECONDS = 5
SHOWN_SECONDS = 15 * 60


def main() -> int:
    """Return the exit code: 2 if a required program is missing."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.demo", description=__doc__)
    parser.add_argument(
        "--render",
        choices=("auto", "yes", "no"),
        default="auto",
        help="show the dashboards; auto: if the npm packages are installed; yes: install them "
        f"({PACKAGES_MB} MB, in the cache folder)",
    )
    chosen = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    render = chosen.render == "yes" or (chosen.render == "auto" and installed())
    try:
        with tempfile.TemporaryDirectory(prefix="hvoscope-demo-") as work:
            show(Path(work), stop, render=render)
    except (OSError, PrometheusError, RenderError) as error:
        if stop.is_set():
            return 0
        print(error, file=sys.stderr)
        return 2
    return 0


def show(work: Path, stop: threading.Event, *, render: bool) -> None:
    """Run everything in the folder ``work`` until ``stop`` is set.

    Raises ``PrometheusError`` and ``RenderError``.
    """
    with ExitStack() as stack:
        print("Starting four simulated machines and a Prometheus ...", flush=True)
        ports = {n: stack.enter_context(exporter(n, _scenario(n), work, stop)) for n in FLEET}
        prometheus = stack.enter_context(running(work / "prometheus", _config(ports), stop=stop))
        for name, port in ports.items():
            print(f"  {name:<11} http://127.0.0.1:{port}/")
        print(f"  Prometheus  {prometheus.url}/alerts and {prometheus.url}/graph")
        if render:
            build(work / "site", progress=partial(print, "  Dashboards ", flush=True))
            settings = Settings(prometheus.url, None, SHOWN_SECONDS, SCRAPE_SECONDS)
            print(f"  Dashboards  {stack.enter_context(serving(work / 'site', settings))}")
        else:
            print("  Dashboards  dashboards/pictures/, or live: make demo RENDER=yes")
        print("  trouble-1 fails within two minutes; its first alert fires within five.")
        print(f"A day takes {24 * 60 // TIME_SCALE} minutes; Ctrl-C ends it.", flush=True)
        stop.wait()
        print("Stopping ...", flush=True)


@contextmanager
def exporter(name: str, scenario: Path, work: Path, stop: threading.Event) -> Iterator[int]:
    """Run an exporter of a simulated machine; yield its port when it is ready."""
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("hvoscope")), "serve", "--backend", "sim"),
        *("--sim.scenario", str(scenario), "--sim.time-scale", str(TIME_SCALE)),
        *("--web.listen-address", f"127.0.0.1:{port}"),
    ]
    with (work / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: _is_ready(process, port, work / f"{name}.log"), stop)
        yield port
    finally:
        end(process)


def _scenario(name: str) -> Path:
    own = MACHINES / "demo" / f"{name}.toml"
    return own if own.exists() else MACHINES / f"{name}.toml"


def _is_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise PrometheusError(f"an exporter failed to start: {log.read_text().strip()[-300:]}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _config(ports: Mapping[str, int]) -> str:
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}}
        for name, port in ports.items()
    ]
    return yaml.safe_dump(
        {
            "global": {
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "evaluation_interval": f"{SCRAPE_SECONDS}s",
            },
            "rule_files": [str(path) for path in FILES],
            "scrape_configs": [{"job_name": JOB, "static_configs": targets}],
        }
    )


if __name__ == "__main__":
    sys.exit(main())
