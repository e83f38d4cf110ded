# SPDX-License-Identifier: Apache-2.0
"""Kernel stacks of a live kernel, and latencies of the same operations."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.events import Event, Kind, unpack_all
from probes.kernel.symbolize import function_of
from probes.recording.trace_file import TraceReader
from tests.guests.kernel_matrix import under_test
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.stacks import FAULTED, PAGES

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1200
STOCK = [kernel_name for kernel_name in under_test() if kernel_name.startswith("debian")][:1]


@pytest.fixture(scope="module", params=STOCK)
def out(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the guest wrote."""
    folder = tmp_path_factory.mktemp("stacks")
    command = (sys.executable, "-m", "tests.kernel.stacks", str(folder))
    run = run_in_guest(
        with_programs(kernels(request.param)), command, out=folder, timeout_s=GUEST_TIMEOUT_S
    )
    assert run.exit_code == 0, run.stderr
    return folder


def exits(out: Path) -> Iterator[tuple[Event, list[str]]]:
    """Ends of operations, each with the functions of its stack."""
    reader = TraceReader.open(out / "stacks.hvot")
    stacks: dict[int, tuple[str, ...]] = {}
    for block in reader.blocks():
        stacks |= block.stacks
        for event in unpack_all(block.records):
            if event.kind in (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT):
                yield event, [function_of(frame) for frame in stacks[event.stack]]
    assert reader.done
    hooked = {name for probe in reader.header.probes for name in re.findall(r"\w+", probe.symbol)}
    assert {function_of(frames[0]) for frames in stacks.values()} <= hooked
    reader.close()


def test_who_triggered_an_operation_is_in_its_stack(out: Path) -> None:
    grown: list[list[str]] = []
    shrunk: list[list[str]] = []
    faulted: list[list[str]] = []
    freed: list[list[str]] = []
    for event, functions in exits(out):
        if event.kind == Kind.OPTIMIZE_EXIT:
            (grown if event.comm == b"sh" else faulted).append(functions)
        else:
            (freed if event.comm.startswith(b"kworker") else shrunk).append(functions)
    assert (len(grown), len(shrunk), len(faulted)) == (PAGES, PAGES, FAULTED)
    assert len(freed) == FAULTED
    assert all("proc_sys_call_handler" in functions for functions in grown)
    assert all("kernfs_fop_write_iter" in functions for functions in shrunk)
    assert all("handle_mm_fault" in functions for functions in faulted)
    assert all("free_hpage_workfn" in functions for functions in freed)


def test_latencies_are_of_the_recorded_operations(out: Path) -> None:
    found = json.loads((out / "latency.json").read_text())
    counts = {one["operation"]: one["count"] for one in found["latencies"]}
    assert counts == {"optimize": PAGES + FAULTED, "restore": PAGES + FAULTED}
    by_comm = {one["comm"].partition("/")[0]: one for one in found["processes"]}
    assert by_comm["sh"]["optimized"] == PAGES
    assert by_comm["kworker"]["restored"] == FAULTED
