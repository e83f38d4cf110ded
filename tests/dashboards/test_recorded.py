# SPDX-License-Identifier: Apache-2.0
"""All queries on saved scrapes, here of a simulated kernel; test kernels run them on a real one."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder

from dashboards.prove.recorded import prove
from exporter.metrics.registry import make_registry
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from tests.tools import need

pytestmark = pytest.mark.dashboards

ROOT = Path(__file__).parents[2]


def save(folder: Path) -> list[Path]:
    """Save two scrapes, before and after 23 huge pages, one in each format."""
    backend = SimBackend(SimKernel("7.1", nodes=2, seed=3))
    registry = make_registry(backend)
    backend.start()
    (folder / "before.txt").write_bytes(generate_latest(registry))
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    backend.operate(parse_operation("grow 2MB 23"))
    (folder / "after.om").write_bytes(encode(registry))
    backend.stop()
    return [folder / "before.txt", folder / "after.om"]


def test_values_of_saved_scrapes(tmp_path: Path) -> None:
    need("prometheus", "prometheus")
    answers = {a.query.name: a for a in prove(save(tmp_path), tmp_path / "storage")}
    assert [a.query.name for a in answers.values() if a.problem] == []
    optimized = answers["hvo-kernel: Optimize calls: B"].values
    # 23 in the minute that is assumed between two scrapes, and none of 1 GB.
    assert optimized == pytest.approx(
        {frozenset({("size", "2MB")}): 23 / 60, frozenset({("size", "1GB")}): 0}
    )
    assert answers["hvo-host: Memory saved: A"].values == {frozenset(): 23 * 7 * 4096}
    assert answers["hvo-host: Accounting drift: A"].values == {frozenset(): 0}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashboards.prove", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_reports_no_wrong_result(tmp_path: Path) -> None:
    need("prometheus", "prometheus")
    done = run("--scrape", *map(str, save(tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" answered, 0 wrong")


def test_a_file_that_is_not_a_scrape_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "no.txt"
    path.write_text("hvo_enabled{ 1\n")
    done = run("--scrape", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{path} is not a scrape: ")
    assert "No such file" in run("--scrape", str(tmp_path / "none")).stderr
