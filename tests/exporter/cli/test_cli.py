# SPDX-License-Identifier: Apache-2.0
"""The command line as a process: output and exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from probes.counters import reduce
from probes.events import unpack_all

HVOSCOPE = [sys.executable, "-c", "from exporter.cli.main import main; main()"]
REPOSITORY = Path(__file__).parents[3]


def hvoscope(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HVOSCOPE, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
    )


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        ("serve --backend ebpf", "'ebpf' is not one of 'bcc', 'state', 'sim', 'replay'"),
        ("serve --web.listen-address here", "invalid address 'here'"),
        ("serve --web.listen-address 127.0.0.1:99999", "expected at most 65535"),
        ("serve --web.listen-address 192.0.2.1:0 --backend sim", "can't listen on 192.0.2.1"),
        ("serve --web.telemetry-path /-/metrics", "expected /PATH, neither / nor below /-/"),
        ("simulate", "give exactly one of --op (repeatable), --scenario and --steps"),
        ("simulate --steps 3 --op hvo.on", "invalid operation 'hvo.on'"),
        ("simulate --kernel 4.4 --op hvo.on", "kernel 4.4 has no HVO (expected 5.14 or newer)"),
        (
            "simulate --scenario leak --steps 3",
            "give exactly one of --op (repeatable), --scenario and",
        ),
        ("simulate --scenario leek", "no scenario is called 'leek' (there are boot-pool, "),
        ("simulate --arch vax --steps 1", "'vax' is not one of 'x86-64', 'arm64'"),
        ("simulate --page-size 5 --steps 1", "invalid size '5'"),
        (
            "serve --sim.scenario leak",
            "--sim.scenario needs a simulated kernel: add --backend sim",
        ),
        ("serve --backend sim --sim.time-scale fast", "invalid time scale 'fast'"),
        ("trace --count 0", "0 is not in the range x>=1"),
        ("trace --size 2", "invalid size '2'"),
        ("trace --backend sim --size 3MB", "--size 3MB: no huge pages of this size (exp"),
        ("trace --backend sim --node 23", "--node 23: no huge pages on this node (expected"),
        ("trace --backend sim --sim.kernel 5.14 --step batch", "--step batch: not attached: this"),
        ("trace --backend sim --comm systemd-journald", "at most 15 bytes (try 'systemd-journal"),
        ("trace --backend sim --pid 4194305", "--pid 4194305: no such process or thread"),
        ("trace --backend sim --min-latency inf", "'inf' is not a finite number"),
        ("trace --backend sim --duration nan", "'nan' is not a finite number"),
        ("top --backend sim --interval inf", "'inf' is not a finite number"),
        ("trace --file ./-", "-: No such file or directory"),
        ("trace --backend replay", "--backend replay needs a recording: --replay.file FILE"),
        ("trace --backend replay --replay.speed 3", "invalid speed '3'"),
        ("trace --file none.hvot", "none.hvot: No such file or directory"),
        ("trace --file README.md", "README.md: offset 0: not an hvoscope trace"),
        ("serve --backend replay --replay.file README.md", "offset 0: not an hvoscope trace"),
        ("record README.md --backend sim", "README.md exists: name another"),
        ("record none/x --backend sim --count 1", "none/x: No such file or directory"),
        ("record x --duration 0", "0.0 is not in the range x>0"),
        ("plan --size 2MB --struct-page 56", "a struct page of 56 bytes crosses page boundaries"),
        ("plan --size 2MB --count 0", "0 is not in the range"),
        ("tarce", "No such command 'tarce'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: str, reported: str) -> None:
    ran = hvoscope(*(word.replace("hvo.on", "hvo-on") for word in arguments.split()))
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("hvoscope: error: ")
    assert reported.replace("hvo.on", "hvo-on") in line
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("operation", "reported"),
    [
        ("shrink 2MB 3", "shrink 2MB 3: the pool has 0 pages"),
        ("grow 3MB 1", "this kernel has huge pages of 2MB, 1GB"),
        ("grow 1GB 1025", "of huge pages (expected at most 1024GB)"),
    ],
)
def test_an_impossible_operation_is_exit_code_2(operation: str, reported: str) -> None:
    ran = hvoscope("simulate", "--op", operation)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert reported in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("kernel", "ptes_2mb", "ptes_1gb", "head"),
    [
        ("v17", 0, 0, 0),
        ("v17-enabled", 138, 4094, 0),
        ("5.14", 138, 4094, 0),
        ("5.18", 161, 4095, 0),
        ("6.2", 184, 4096, 23),
        ("6.7", 184, 4096, 23),
        ("7.1", 184, 4096, 23),
    ],
)
def test_simulate_prints_counters_as_json(
    kernel: str, ptes_2mb: int, ptes_1gb: int, head: int
) -> None:
    ran = hvoscope(
        "simulate", "--kernel", kernel, "--op", "grow 2MB 23", "--op", "grow 1GB 1", "--json"
    )
    assert ran.returncode == 0, ran.stderr
    metrics = json.loads(ran.stdout)["metrics"]

    def value(name: str, **labels: str) -> float:
        return sum(
            float(m["value"])
            for m in metrics
            if m["name"] == name and labels.items() <= m["labels"].items()
        )

    assert value("hvo_optimize_calls_total", size="2MB") == 23
    assert value("hvo_ptes_remapped_total", size="2MB") == ptes_2mb
    assert value("hvo_frames_freed_total", size="1GB") == ptes_1gb
    assert value("hvo_frames_allocated_total", size="2MB", cause="head") == head
    assert value("hvo_hugepages_skipped_total") == (24 if kernel == "v17" else 0)


@pytest.mark.parametrize(
    ("page_size", "operation", "rows"),
    [
        ("64K", "grow 512MB 23", ["hvo_frames_freed_total size=512MB numa_node=0 184"]),
        ("16K", "grow 32MB 23", ["hvo_frames_freed_total size=32MB numa_node=0 184"]),
        (
            "4K",
            "grow 64KB 23",
            ["hvo_hugepages_skipped_total size=64KB numa_node=0 reason=unsupported 23"],
        ),
    ],
)
def test_simulate_arm64_page_sizes(page_size: str, operation: str, rows: list[str]) -> None:
    ran = hvoscope("simulate", "--arch", "arm64", "--page-size", page_size, "--op", operation)
    assert ran.returncode == 0, ran.stderr
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    assert set(rows) <= set(lines)


def test_x86_has_no_64k_pages() -> None:
    ran = hvoscope("simulate", "--page-size", "64K", "--op", "grow 512MB 1")
    assert ran.returncode == 2
    assert ran.stderr == "hvoscope: error: x86-64 has no 64KB pages (it has 4KB)\n"


def test_scenarios_are_listed() -> None:
    ran = hvoscope("simulate", "--list-scenarios")
    assert ran.returncode == 0
    first = ran.stdout.splitlines()[0].split()
    assert first[:3] == ["boot-pool", "7.1", "10m"]
    assert max(map(len, ran.stdout.splitlines())) <= 100


def test_a_scenario_file_runs(tmp_path: Path) -> None:
    scenario, machine = tmp_path / "mine.toml", tmp_path / "machine"
    scenario.write_text(
        'description = "mine"\nduration = "1m"\nmachine.memory-per-node = "1GB"\n'
        '[[step]]\nat = "1s"\ndo = ["grow 2MB 23", "miss remap_pte 1", "grow 2MB 1"]\n'
    )
    ran = hvoscope("simulate", "--scenario", str(scenario), "--files", str(machine))
    assert ran.returncode == 0, ran.stderr
    rows = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    assert "hvo_ptes_remapped_total size=2MB numa_node=0 191" in rows
    assert "hvo_probe_missed_total step=remap_pte 1" in rows
    assert "HugePages_Total:      24\n" in (machine / "proc/meminfo").read_text()
    scenario.write_text(scenario.read_text().replace('grow 2MB 1"', 'shrink 2MB 29"'))
    broken = hvoscope("simulate", "--scenario", str(scenario))
    assert broken.returncode == 2
    assert broken.stderr == (
        f"hvoscope: error: Invalid value for '--scenario': {scenario}:6: 'shrink 2MB 29': there "
        "are only 23 pages by then\n"
    )


def test_a_scenario_runs_on_another_kernel() -> None:
    ran = hvoscope("simulate", "--scenario", "fragmentation", "--kernel", "7.1", "--json")
    labels = {m["name"]: m["labels"] for m in json.loads(ran.stdout)["metrics"]}
    assert labels["hvo_backend_info"]["kernel"] == "7.1"


def test_trace_prints_events_of_a_scenario() -> None:
    ran = hvoscope(
        *("trace", "--backend", "sim", "--sim.scenario", "database", "--sim.time-scale", "max"),
        *("--count", "1", "--json"),
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["kind"] == "batch_enter"


def test_simulate_table_shows_what_happened() -> None:
    ran = hvoscope("simulate", "--op", "grow 2MB 23", "--op", "shrink 2MB 23")
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert ["hvo_ptes_remapped_total", "size=2MB", "numa_node=0", "184"] in rows
    assert ["hvo_ptes_restored_total", "size=2MB", "numa_node=0", "161"] in rows


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def events(seed: str, name: str) -> bytes:
        path = tmp_path / name
        ran = hvoscope("simulate", "--steps", "10", "--seed", seed, "--events", str(path))
        assert ran.returncode == 0, ran.stderr
        return path.read_bytes()

    first = events("7", "a")
    assert first == events("7", "b")
    assert first != events("8", "c")
    assert (reduce(unpack_all(first)).total("optimize_calls") or 0) > 0


def test_trace_prints_events_of_the_simulator() -> None:
    ran = hvoscope("trace", "--backend", "sim", "--pte", "--count", "5", "--json")
    assert ran.returncode == 0, ran.stderr
    kinds = [json.loads(line)["kind"] for line in ran.stdout.splitlines()]
    assert kinds == ["batch_enter", "optimize_enter", "remap_range", "remap_pte", "remap_pte"]
    assert "SIMULATED" in ran.stderr


def test_a_closed_pipe_is_not_an_error() -> None:
    command = [*HVOSCOPE, "trace", "--backend", "sim"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert b"Traceback" not in process.stderr.read()


def test_version_is_the_distribution_version() -> None:
    assert hvoscope("--version").stdout == "hvoscope, version 0.1.0\n"
