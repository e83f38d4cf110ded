# SPDX-License-Identifier: Apache-2.0
"""``hvoscope serve`` as a process: log, responses, exit."""

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest

from probes.kernel.host import Host
from probes.operations import parse_operation
from probes.recording.recorder import Limits, Recorder, make_header
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel

REPOSITORY = Path(__file__).parents[3]
SERVE = [sys.executable, "-c", "from exporter.cli.main import main; main()", "serve"]


@contextmanager
def daemon(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Start a daemon on a free port until it logs ready or not ready: process, URL, log so far."""
    command = [*SERVE, "--web.listen-address", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
    ) as process:
        assert process.stderr
        log: list[str] = []
        for line in process.stderr:
            log.append(line)
            if re.search(r"INFO (not )?ready$|no probes", line):
                break
        url = next(m[1] for line in log if (m := re.search(r"listening on (\S+)", line)))
        try:
            yield process, url, log
        finally:
            process.kill()


def get(url: str, context: ssl.SSLContext | None = None) -> str:
    with urllib.request.urlopen(url, timeout=30, context=context) as answer:
        body: bytes = answer.read()
        return body.decode()


def test_a_simulation_is_marked_everywhere() -> None:
    with daemon("--backend", "sim", "--sim.kernel", "6.7") as (_, url, log):
        assert any("WARNING these metrics are SIMULATED (kernel 6.7)" in line for line in log)
        assert get(f"{url}/-/ready") == "ready\n"
        assert '<p class="simulated">' in get(url)
        assert 'hvo_backend_info{backend="sim",kernel="6.7",mode="simulated"} 1.0' in get(
            f"{url}/metrics"
        )


def test_the_state_is_served_without_probes_and_ready_by_design() -> None:
    with daemon("--backend", "state") as (_, url, _log):
        assert get(f"{url}/-/ready") == "ready\n"
        metrics = get(f"{url}/metrics")
        assert 'hvo_backend_info{backend="state"' in metrics
        assert 'hvo_check_result{check="' in metrics
        assert "hvo_probe_attached" not in metrics


def test_a_recording_is_served_like_a_live_kernel(tmp_path: Path) -> None:
    path = tmp_path / "t.hvot"
    backend = SimBackend(SimKernel("6.7"), stream=True)
    backend.start()
    stop = threading.Event()
    stop.set()
    with path.open("wb", buffering=0) as file:
        recorder = Recorder(backend, file, make_header(backend, Host()))
        backend.operate(parse_operation("grow 2MB 509"))
        recorder.run(Limits(), stop, lambda _report: None)
    replayed = ("--backend", "replay", "--replay.file", str(path), "--replay.speed", "max")
    with daemon(*replayed) as (process, url, log):
        assert f"INFO replay of {path}: 6.7 (sim, simulated), recorded " in log[0]
        assert any("these metrics are SIMULATED (kernel 6.7)" in line for line in log)
        assert process.stderr
        # Before "ready" or after it, in the thread of the replay.
        assert any("the replay has ended" in line for line in chain(log, process.stderr))
        metrics = get(f"{url}/metrics")
        assert 'hvo_hugepages_optimized_total{numa_node="0",size="2MB"} 509.0' in metrics
        assert 'hvo_pool_hugepages{numa_node="0",size="2MB"} 509.0' in metrics
        assert "hvo_accounting_drift_frames 0.0" in metrics
        assert 'hvo_backend_info{backend="replay",kernel="6.7",mode="simulated"} 1.0' in metrics


def test_a_scenario_with_faults_is_served(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.toml"
    scenario.write_text(
        'description = "A probe is lost."\nduration = "1h"\n[machine]\nsizes = ["2MB"]\n'
        '[[step]]\nat = "20m"\ndo = ["grow 2MB 23", "lose 5", "detach remap_pte"]\n'
    )
    options = ("--sim.scenario", str(scenario), "--sim.time-scale", "max")
    with daemon("--backend", "sim", *options) as (_, url, log):
        assert any("INFO scenario mine: A probe is lost." in line for line in log)
        metrics = ""
        for _ in range(1000):  # the scenario runs concurrently and takes a moment
            metrics = get(f"{url}/metrics")
            if 'step="remap_pte",symbol="vmemmap_remap_pte"} 0.0' in metrics:
                break
        assert 'hvo_probe_attached{attach="",step="remap_pte"' in metrics
        assert 'hvo_optimize_calls_total{numa_node="0",size="2MB"} 23.0' in metrics
        assert 'hvo_events_lost_total{where="queue"} 5.0' in metrics
        assert "hvo_ptes_remapped" not in metrics
        assert "hvo_frames_freed" not in metrics
        assert "hvo_accounting_drift" not in metrics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with daemon("--backend", "sim") as (process, _, _):
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr
        assert process.stderr.read().endswith("INFO stopping\n")


def test_a_busy_port_is_one_line() -> None:
    with daemon("--backend", "sim") as (_, url, _):
        address = url.removeprefix("http://")
        command = [*SERVE, "--backend", "sim", "--web.listen-address", address]
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY
        )
        assert ran.returncode == 2
        (line,) = ran.stderr.splitlines()
        assert "Address already in use: choose another with --web.listen-address" in line


def test_without_probes_it_serves_the_state_and_never_simulates(tmp_path: Path) -> None:
    sysctl = tmp_path / "proc/sys/vm/hugetlb_optimize_vmemmap"
    sysctl.parent.mkdir(parents=True)
    sysctl.write_text("0\n")
    roots = ("--path.procfs", str(tmp_path / "proc"), "--path.sysfs", str(tmp_path / "sys"))
    with daemon(*roots) as (process, url, log):
        assert "WARNING HVO is switched off" in log[0]
        assert "ERROR no probes attached, serving only the kernel's state" in log[-1]
        assert "this kernel has no kprobes" in log[-1]
        with pytest.raises(urllib.error.HTTPError, match="503"):
            get(f"{url}/-/ready")
        metrics = get(f"{url}/metrics")
        assert "hvo_enabled 0.0" in metrics
        assert 'hvo_probe_attached{attach="",step="optimize",symbol=""} 0.0' in metrics
        assert not re.findall("^hvo_.*_total.*", metrics, re.MULTILINE)
        assert "simulated" not in re.sub(r"# HELP.*", "", metrics)
        assert '<p class="problem">' in get(url)
        process.terminate()
        assert process.wait(60) == 0
