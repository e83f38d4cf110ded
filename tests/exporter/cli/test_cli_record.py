# SPDX-License-Identifier: Apache-2.0
"""``hvoscope record``, and the commands that play its files, as processes."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from exporter.cli.record import record
from probes.counters import reduce
from probes.events import Event, Kind, unpack_all
from probes.kernel.host import Host
from probes.observation import PARTS, Observation
from probes.recording.recorder import Limits
from probes.recording.trace_file import Done, TraceReader
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from tests.exporter.cli.test_cli import HVOSCOPE, REPOSITORY, hvoscope

RECORD = [*HVOSCOPE, "record", "--backend", "sim"]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record the first events of the default scenario: a 1 GB page, and some of 2 MB."""
    path = tmp_path_factory.mktemp("record") / "t.hvot"
    ran = hvoscope("record", str(path), "--backend", "sim", "--count", "4200")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    return path


def read(path: Path) -> tuple[list[Event], TraceReader]:
    reader = TraceReader.open(path)
    events = [event for block in reader.blocks() for event in unpack_all(block.records)]
    reader.close()
    return events, reader


def kinds(text: str) -> list[str]:
    return [json.loads(line)["kind"] for line in text.splitlines()]


def test_record_to_a_pipe_and_trace_from_it(tmp_path: Path) -> None:
    """``-`` is standard output or input; no file of that name is created."""
    shell = shlex.join(HVOSCOPE)
    script = f"{shell} record - --backend sim --count 1009 | {shell} trace --file - --pte --json"
    ran = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert ran.returncode == 0
    assert len(kinds(ran.stdout)) == 1009
    assert "replay of /dev/stdin: 7.3 (sim, simulated)" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def through_a_shell(script: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", script, *HVOSCOPE],
        capture_output=True, timeout=60, check=False, cwd=REPOSITORY,
    )  # fmt: skip


def test_a_recording_is_appended_to_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "both"
    path.write_bytes(b"precious")
    ran = through_a_shell(f'"$0" "$@" record - --backend sim --count 23 >> {path}')
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert path.read_bytes().startswith(b"preciousHVOTRACE")
    path.write_bytes(path.read_bytes().removeprefix(b"precious"))
    events, reader = read(path)
    assert (len(events), reader.done) == (23, Done(23, "23 events"))


def test_recording_to_a_closed_pipe_is_an_error() -> None:
    ran = through_a_shell(
        '"$0" "$@" record - --backend sim | head -c 8; echo "${PIPESTATUS[0]}" >&2'
    )
    line = b"hvoscope: error: /dev/stdout: Broken pipe: events before this are readable\n"
    assert (ran.stdout, ran.stderr) == (b"HVOTRACE", line + b"1\n")


def test_recording_to_a_full_standard_output_is_one_line() -> None:
    ran = through_a_shell('"$0" "$@" record - --backend sim > /dev/full')
    assert ran.returncode == 1
    assert ran.stderr == (
        b"hvoscope: error: /dev/stdout: No space left on device: events before this are readable\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [("record", "-", "--backend", "sim"), ("simulate", "--steps", "1", "--events", "-")],
)
def test_binary_data_to_a_terminal_is_rejected(arguments: tuple[str, ...]) -> None:
    ours, theirs = os.openpty()
    try:
        ran = subprocess.run(
            [*HVOSCOPE, *arguments],
            stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False, cwd=REPOSITORY,
        )  # fmt: skip
    finally:
        os.close(theirs)
        os.close(ours)
    assert ran.returncode == 2
    assert ran.stderr.endswith(b" is binary and standard output is a terminal: redirect it\n")


def test_events_of_a_simulation_to_standard_output() -> None:
    ran = through_a_shell('"$0" "$@" simulate --op "grow 2MB 23" --events -')
    assert ran.returncode == 0
    assert reduce(unpack_all(ran.stdout)).total("frames_freed") == 184
    assert b"hvo_frames_freed_total " in ran.stderr
    few = through_a_shell('"$0" "$@" simulate --op "grow 2MB 2309" --events - | head -c 96')
    assert (len(few.stdout), few.stderr) == (96, b"")


def test_a_recording_and_a_scenario_from_standard_input(trace: Path) -> None:
    ran = through_a_shell(f'"$0" "$@" top --backend replay --replay.file - --count 1 < {trace}')
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout
    scenario = "sim_backend/scenario/shipped/leak.toml"
    ran = through_a_shell(f'"$0" "$@" simulate --scenario - < {scenario}')
    assert ran.stdout.decode() == hvoscope("simulate", "--scenario", "leak").stdout
    ran = through_a_shell('echo "x =" | "$0" "$@" simulate --scenario -')
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"'--scenario': /dev/stdin:1: " in ran.stderr


def test_a_recording_is_printed(trace: Path) -> None:
    ran = hvoscope("trace", "--file", str(trace), "--pte", "--json")
    assert ran.returncode == 0
    assert len(kinds(ran.stdout)) == 4200
    assert kinds(ran.stdout).count("remap_pte") > 4094
    about, simulated = ran.stderr.splitlines()
    assert about.startswith(f"hvoscope: replay of {trace}: 7.3 (sim, simulated), recorded ")
    assert simulated == "hvoscope: these events are SIMULATED"


def test_filters_select_events(trace: Path) -> None:
    ran = hvoscope("trace", "--file", str(trace), "--size", "1GB", "--json")
    page = ["optimize_enter", "remap_range", "optimize_exit"]
    assert kinds(ran.stdout) == ["batch_enter", *page, "batch_exit"]
    ran = hvoscope("trace", "--file", str(trace), "--failed")
    assert len(ran.stdout.splitlines()) == 1  # the header
    assert ran.returncode == 0


def test_a_truncated_recording_is_reported(trace: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.hvot"
    cut.write_bytes(trace.read_bytes()[:-30])
    ran = hvoscope("trace", "--file", str(cut), "--json")
    assert ran.returncode == 0
    assert kinds(ran.stdout)
    assert f"hvoscope: {cut}: cut short: " in ran.stderr.splitlines()[-1]


def test_a_corrupt_recording_is_one_line_and_exit_code_2(trace: Path, tmp_path: Path) -> None:
    damaged = bytearray(trace.read_bytes())
    damaged[-300] ^= 1
    path = tmp_path / "damaged.hvot"
    path.write_bytes(damaged)
    ran = hvoscope("trace", "--file", str(path), "--json")
    assert ran.returncode == 2
    *_, line = ran.stderr.splitlines()
    assert line.startswith(f"hvoscope: error: {path}: offset ")
    assert "Traceback" not in ran.stderr


def test_an_existing_file_is_overwritten_only_by_force(trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.hvot"
    path.write_bytes(b"precious")
    refused = hvoscope("record", str(path), "--backend", "sim", "--count", "1")
    assert (refused.returncode, path.read_bytes()) == (2, b"precious")
    forced = hvoscope("record", str(path), "--backend", "sim", "--count", "23", "--force")
    assert forced.returncode == 0
    assert len(read(path)[0]) == 23


def test_a_full_disk_is_one_line() -> None:
    ran = hvoscope("record", "/dev/full", "--backend", "sim")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        "hvoscope: error: /dev/full: No space left on device: events before this are readable\n"
    )


def test_output_to_a_full_disk_is_one_line(trace: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*HVOSCOPE, "trace", "--file", str(trace)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    *_, line = ran.stderr.splitlines()
    assert line == "hvoscope: error: can't write to standard output: No space left on device"


def record_until(path: Path, end: Callable[[subprocess.Popen[str]], None]) -> tuple[int, str]:
    """Record until there are events; return the exit code and stderr."""
    with subprocess.Popen(
        [*RECORD, str(path)], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        while not path.exists() or path.stat().st_size < 8000:
            assert process.poll() is None
            os.sched_yield()
        end(process)
        assert process.stderr
        return process.wait(60), process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "t.hvot"
    assert record_until(path, lambda process: process.send_signal(number)) == (0, "")
    events, reader = read(path)
    assert reader.done == (len(events), "interrupted")


def test_a_signal_before_the_first_counters_ends_it_cleanly(tmp_path: Path) -> None:
    """On a slow machine they take as long as what is to be recorded."""

    class Interrupted(SimBackend):
        seen = False

        def observe(self, parts: Collection[str] = PARTS) -> Observation:
            if parts == PARTS and not self.seen:
                self.seen = True
                signal.raise_signal(signal.SIGINT)
            return super().observe(parts)

    path = tmp_path / "t.hvot"
    backend = Interrupted(SimKernel("7.3"), stream=True)
    backend.start()
    with path.open("wb", buffering=0) as file:
        record(backend, file, Host(), Limits())
    events, reader = read(path)
    assert (events, reader.done) == ([], Done(0, "interrupted"))


def test_a_killed_recorder_leaves_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "t.hvot"
    code, _ = record_until(path, lambda process: process.kill())
    assert code == -signal.SIGKILL
    events, reader = read(path)
    assert [event.kind for event in events[:2]] == [Kind.BATCH_ENTER, Kind.OPTIMIZE_ENTER]
    assert reader.done is None
    assert "cut short" in reader.missing


def test_record_and_trace_through_a_fifo() -> None:
    with subprocess.Popen(
        [*RECORD, "/dev/stdout", "--count", "509"], stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as recorder:
        ran = subprocess.run(
            [*HVOSCOPE, "trace", "--file", "/dev/stdin", "--pte", "--json"],
            stdin=recorder.stdout,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 0
    assert len(kinds(ran.stdout)) == 509


def test_a_fifo_whose_reader_ends_is_one_line() -> None:
    with subprocess.Popen(
        [*RECORD, "/dev/stdout"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    ) as recorder:
        assert recorder.stdout and recorder.stderr
        recorder.stdout.read(20)
        recorder.stdout.close()
        assert recorder.wait(60) == 1
        (line,) = recorder.stderr.read().decode().splitlines()
        assert line == "hvoscope: error: /dev/stdout: Broken pipe: events before this are readable"


def test_latencies_of_a_recording_are_those_of_its_counters(trace: Path) -> None:
    events, _ = read(trace)
    ran = hvoscope("latency", "--file", str(trace), "--json")
    assert ran.returncode == 0
    found = json.loads(ran.stdout)
    counters = reduce(events)
    counted = {
        (one["operation"], one["size"]): (one["count"], one["sum_ns"]) for one in found["latencies"]
    }
    assert counted == {
        (name, {9: "2MB", 18: "1GB"}[order]): (sum(histogram.counts), histogram.sum_ns)
        for (name, order), histogram in counters.durations.items()
        if sum(histogram.counts)
    }
    optimized = sum(one["optimized"] for one in found["processes"])
    assert optimized == counters.total("hugepages_optimized")


def test_latency_prints_each_interval_until_a_signal() -> None:
    command = ["latency", "--backend", "sim", "--sim.time-scale", "100", "-i", "0.3"]
    times: list[str] = []
    began = time.monotonic()
    with subprocess.Popen(
        [*HVOSCOPE, *command], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if re.fullmatch(r"\d\d:\d\d:\d\d\n", line):
                times.append(line)
                if len(times) == 3:
                    process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert len(times) >= 3
    assert time.monotonic() - began >= 3 * 0.3


def test_latency_ends_after_its_duration() -> None:
    ran = hvoscope("latency", "--backend", "sim", "--sim.time-scale", "max", "-d", "0.3", "--json")
    assert ran.returncode == 0
    assert "latencies" in json.loads(ran.stdout)


@pytest.mark.parametrize("output", ["--chrome", "--csv"])
def test_a_recording_is_exported(trace: Path, output: str) -> None:
    ran = hvoscope("trace", "--file", str(trace), output)
    assert ran.returncode == 0
    events, _ = read(trace)
    exits = [event for event in events if event.kind == Kind.OPTIMIZE_EXIT]
    if output == "--csv":
        rows = list(csv.DictReader(ran.stdout.splitlines()))
        found = [int(row["ptes"]) for row in rows if row["kind"] == "optimize_exit"]
    else:
        entries = json.loads(ran.stdout)["traceEvents"]
        tasks = [one for one in entries if one["ph"] == "X" and one["pid"] < 1 << 30]
        found = [one["args"]["ptes"] for one in tasks if one["name"].startswith("optimize")]
        assert {"C"} <= {one["ph"] for one in entries}
    assert found == [event.ptes for event in exits]


def test_stacks_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "stacks.hvot"
    recorded = hvoscope("record", str(path), "-K", "--backend", "sim", "--count", "4200")
    assert (recorded.returncode, recorded.stderr) == (0, "")
    folded = hvoscope("trace", "--file", str(path), "--folded")
    calls = [line.rpartition(" ") for line in folded.stdout.splitlines()]
    events, _ = read(path)
    exits = [event for event in events if event.kind == Kind.OPTIMIZE_EXIT]
    assert sum(int(count) for _, _, count in calls) == len(exits)
    innermost = "__hugetlb_vmemmap_optimize_folio"
    assert {stack.split(";")[-1] for stack, _, _ in calls} == {innermost}
    lines = hvoscope("trace", "--file", str(path), "-K", "--json", "--step", "optimize")
    records = [json.loads(line) for line in lines.stdout.splitlines()]
    assert {record["stack"][0] for record in records} == {innermost}
    assert {record["reuse"] for record in records} == {"0x0"}
    without = hvoscope("trace", "--file", str(path), "--json")
    assert "stack" not in without.stdout
