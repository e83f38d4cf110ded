# SPDX-License-Identifier: Apache-2.0
"""Fixtures for other projects: the examples of docs/testing.md run, and cost is paid on use."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from exporter.testing import RunningExporter, SimulatedKernel
from probes.events import Kind
from sim_backend.kernel.sim_kernel import SimKernel
from tests.exporter.service.test_daemon import get

PAGE = Path(__file__).parents[2] / "docs/testing.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


NO_FIXTURE = """
import sys

OURS = ("sim_backend", "probes", "prometheus_client", "click", "exporter.")
LOADED = {name for name in sys.modules if name.startswith(OURS)}  # before other files are read


def test_nothing_is_loaded():
    assert LOADED == {"exporter.pytest_plugin"}
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return pytest's output in another project's folder, with warnings as errors."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "test_0_no_fixture.py").write_text(NO_FIXTURE)
    (folder / "test_1_wrong.py").write_text(EXAMPLES[0].replace("184", "185"))
    for number, example in enumerate(EXAMPLES):
        (folder / f"test_example_{number}.py").write_text(example)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-rA", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ran.stdout + ran.stderr


def test_the_examples_of_the_page(output: str) -> None:
    tests = sum(example.count("def test_") for example in EXAMPLES)
    assert tests >= 4
    assert output.count("PASSED test_example_") == tests, output
    assert f"1 failed, {tests + 1} passed" in output, output


def test_a_wrong_example_fails(output: str) -> None:
    assert "assert 184 == 185" in output, output


def test_a_run_without_fixtures_loads_nothing(output: str) -> None:
    assert "PASSED test_0_no_fixture.py::test_nothing_is_loaded" in output, output


def test_pytest_finds_it() -> None:
    (plugin,) = entry_points(group="pytest11", name="hvoscope")
    assert plugin.value == "exporter.pytest_plugin"


@pytest.fixture
def hvo_machine() -> SimKernel:
    return SimKernel("6.7", nodes=2)


def test_the_exporter_is_a_real_one(
    hvo_kernel: SimulatedKernel, hvo_exporter: RunningExporter
) -> None:
    assert hvo_kernel.operate("grow 2MB 23", "shrink 2MB 5") == 5
    assert get(f"{hvo_exporter.url}/-/ready") == "ready\n"
    metrics = get(hvo_exporter.metrics_url)
    assert 'hvo_backend_info{backend="sim",kernel="6.7",mode="simulated"} 1.0' in metrics
    assert "hvo_accounting_drift_frames 0.0" in metrics
    assert '<p class="simulated">' in get(hvo_exporter.url)
    assert hvo_kernel.total("hugepages_restored") == 5
    assert hvo_kernel.total("no_such_family") is None


def test_events_of_the_kernel(hvo_kernel: SimulatedKernel) -> None:
    assert hvo_kernel.events == []
    hvo_kernel.operate("grow 2MB 1")
    assert [event.kind for event in hvo_kernel.events[:3]] == [
        Kind.BATCH_ENTER,
        Kind.OPTIMIZE_ENTER,
        Kind.REMAP_RANGE,
    ]
    assert len(hvo_kernel.records) == len(hvo_kernel.events) * 96


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        ("grow 2MB none", "invalid count 'none' .expected a number above 0"),
        ("grow 3MB 1", "this kernel has huge pages of 2MB, 1GB"),
        ("shrink 2MB 1", "the pool has 0 pages"),
    ],
)
def test_an_impossible_operation_raises(
    hvo_kernel: SimulatedKernel, operation: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        hvo_kernel.operate(operation)
