# SPDX-License-Identifier: Apache-2.0
"""Recordings of real kernels: complete, the same as the simulator's, and replayed as they were."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.registry import make_registry
from probes.recording.replay import AT_ONCE, ReplayBackend
from probes.recording.trace_file import TraceReader
from tests import golden
from tests.guests.kernel_matrix import whole
from tests.guests.kernels import Kernels
from tests.kernel.expected import EXPECTED
from tests.kernel.predictions import new_tables
from tests.kernel.recordings import RECORDED, Recorded, record, store
from tests.kernel.test_counts import Samples

pytestmark = pytest.mark.kernel

GROWN = ("grow 2MB 509", "grow 1GB 1")
"""The first operations with huge pages, on memory that was never optimised."""

_OF_THE_EXPORTER = re.compile(r"process_|python_|hvo_(scrape|series|build_info|backend_info)")
_OF_THE_STREAM = re.compile(r"hvo_events_lost")
_MEASURED = re.compile(r"hvo_\w+_duration_seconds_(bucket|sum)")
"""Two sets of probes time the same calls, each by itself."""


@pytest.fixture(
    scope="module",
    params=[
        kernel_name
        for kernel_name in whole()
        if kernel_name in RECORDED and EXPECTED[kernel_name].restore
    ],
)
def recorded(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Recorded:
    """One boot of each kernel."""
    return record(request.param, kernels(request.param), tmp_path_factory.mktemp(request.param))


def samples(scrape: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scrape says of the kernel: by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
        if not any(p.match(sample.name) for p in (_OF_THE_EXPORTER, _OF_THE_STREAM, _MEASURED))
    }


def replayed(recording: Path) -> str:
    """A scrape at the end of a recording."""
    backend = ReplayBackend(recording, speed=AT_ONCE, stream=True)
    backend.start()
    for _ in backend.records():
        pass
    scrape = generate_latest(make_registry(backend)).decode()
    backend.stop()
    return scrape


def ungrown(recorded: Recorded) -> str:
    """The last operation before the pools grew; "" for none: v17 has no switch."""
    return "hvo on" if EXPECTED[recorded.kernel_name].restore else ""


def plan(recorded: Recorded) -> dict[str, Any]:
    """What ``hvoscope plan`` says of the pages that grew first."""
    expected = EXPECTED[recorded.kernel_name]
    reserved = 8 - (expected.ptes_2mb - expected.head)
    grown = ("--size", "2MB", "--count", "509", "--size", "1GB", "--count", "1")
    hvoscope = str(Path(sys.executable).with_name("hvoscope"))
    done = subprocess.run(
        [hvoscope, "plan", *grown, "--reserved", str(reserved), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nothing_was_lost(recorded: Recorded) -> None:
    assert recorded.notes["record_said"] == ""
    assert recorded.notes["record_exit_code"] == 0
    reader = TraceReader.open(recorded.recording)
    *_, last = reader.blocks()
    reader.close()
    assert (reader.missing, last.observation.status.lost) == ("", {"ring": 0})


def test_the_simulator_makes_the_same_events(recorded: Recorded, tmp_path: Path) -> None:
    trace = golden.load(store(recorded, tmp_path))
    assert len(trace.events) > 9_000  # v17 only grows
    assert golden.first_difference(trace) == ""


def test_a_replay_serves_what_the_exporter_served(recorded: Recorded) -> None:
    served = samples(recorded.notes["scrape"])
    assert len(served) > 90
    # From 6.7 on only the recorder watches ranges, for its stream: nothing is counted by them.
    ranges = {("step", "remap_range")} if EXPECTED[recorded.kernel_name].head else set()
    shown = samples(replayed(recorded.recording))
    # The recorder took a census of its own, and a recording has no checks.
    own = {"hvo_census_timestamp_seconds", "hvo_supported", "hvo_check_result"}

    def common(found: Samples) -> Samples:
        return {
            (name, labels): value
            for (name, labels), value in found.items()
            if name not in own and not ranges & labels
        }

    assert common(shown) == common(served)


def test_the_plan_is_what_the_kernel_accounts(recorded: Recorded) -> None:
    before, after = (recorded.step(op)["kernel"] for op in (ungrown(recorded), GROWN[-1]))
    frames = plan(recorded)["frames_freed"]
    if before["memmap_pages"] is not None:
        assert before["memmap_pages"] - after["memmap_pages"] == frames
    if not EXPECTED[
        recorded.kernel_name
    ].head:  # a new head is of buddy memory, which MemTotal has already
        assert after["memtotal_kib"] - before["memtotal_kib"] == 4 * frames


def test_the_page_tables_of_the_plan_are_those_that_appeared(recorded: Recorded) -> None:
    before, after = (recorded.step(op) for op in (ungrown(recorded), GROWN[-1]))
    if after["tables"] is None:
        assert recorded.kernel_name in ("v17", "patched")  # have no /proc/kcore
        return
    appeared = set(after["tables"]) - set(before["tables"])
    assert appeared == new_tables(before["tables"], after["parts"])
    planned = plan(recorded)
    had_one = len(set(before["tables"]) & set(after["parts"]))
    least, most = planned["page_table_frames"], planned["page_table_frames_most"]
    assert least - had_one <= len(appeared) <= most


def test_top_and_plan_on_the_running_kernel(recorded: Recorded) -> None:
    top, plan = recorded.notes["top"], recorded.notes["plan"]
    assert (top["exit_code"], top["stderr"]) == (0, "")
    header, *looks = top["stdout"].splitlines()
    assert header.split()[:4] == ["TIME", "SECONDS", "SAVED", "OPT/s"]
    assert len(looks) == 3
    assert looks[-1].split()[3:5] == ["0", "0"]  # probes of its own, and nothing happens
    assert (plan["exit_code"], plan["stderr"]) == (0, "")
    assert recorded.notes["release"] in plan["stdout"].splitlines()[0]
