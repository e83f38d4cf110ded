# SPDX-License-Identifier: Apache-2.0
"""The simulator against golden traces of real kernels; and the tool that makes and compares them.

The tool is tried on recordings of the simulator, made here and kept nowhere.
"""

import threading
from dataclasses import replace
from errno import ENOMEM
from pathlib import Path

import pytest

from probes.counters import reduce
from probes.events import Event, Kind, canonical, unpack_all
from probes.geometry import GIB
from probes.kernel.host import Host
from probes.operations import parse_operation
from probes.recording.recorder import Limits, Recorder, make_header
from probes.recording.trace_file import TraceFileError, TraceReader
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from tests import golden
from tests.golden import TRACES, Golden
from tests.kernel.recordings import STORED, generation_of, operations_of
from tests.simulated import Setup, Simulation

RECORDINGS = [(kind, kernel_name) for kind, names in STORED.items() for kernel_name in names]
WITHOUT_MEMMAP = ("v17", "patched", "debian-6.1", "debian-sid")
"""Before Linux 6.11 /proc/vmstat has no nr_memmap_*; the last one was recorded without them."""
OPERATIONS = (
    *("hvo off", "grow 2MB 5", "shrink 2MB 5", "hvo on", "grow 2MB 23", "grow 1GB 1"),
    *("overcommit 2MB 5", "demote 1GB 1", "shrink 2MB 509"),
)


def recording(path: Path, generation: str, *, queue: int = 65_536, seed: int = 23) -> Path:
    """A recording as one from a kernel would be: on any CPU and at any address it likes."""
    kernel = SimKernel(generation, nodes=2, memory_per_node=6 * GIB, hvo=False, seed=seed)
    kernel.pin(1)
    backend = SimBackend(kernel, stream=True, queue_records=queue)
    backend.start()
    stop = threading.Event()
    stop.set()
    with path.open("wb", buffering=0) as file:
        recorder = Recorder(backend, file, make_header(backend, Host()))
        for text in OPERATIONS:
            backend.operate(parse_operation(text))
        recorder.run(Limits(), stop, lambda _report: None)
    return path


def stored(folder: Path, generation: str) -> Golden:
    path = folder / f"{generation}.hvot"
    recorded = recording(folder / "recording.hvot", generation)
    golden.store(recorded, path, Setup(generation, OPERATIONS), "python -m pytest")
    return golden.load(path)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return stored(tmp_path_factory.mktemp("golden"), "6.7")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("recorded") / "recording.hvot", "6.0")


def records(path: Path) -> bytes:
    reader = TraceReader.open(path)
    data = b"".join(block.records for block in reader.blocks())
    reader.close()
    return data


@pytest.mark.parametrize(("kind", "kernel_name"), RECORDINGS)
def test_the_simulator_does_what_real_kernels_did(kind: str, kernel_name: str) -> None:
    name = kernel_name if kind == "pools" else f"{kernel_name}-{kind}"
    trace = golden.load(TRACES / f"{name}.hvot")
    assert trace.header.backend == "bcc"
    assert trace.setup.generation == generation_of(kernel_name, kind)
    assert trace.setup.operations == operations_of(kernel_name, kind)
    assert bool(trace.setup.memmap_pages) == (kernel_name not in WITHOUT_MEMMAP)
    assert len(trace.events) > 9_000  # v17 only grows
    assert golden.first_difference(trace) == ""


def test_every_trace_is_of_a_kernel_that_is_recorded() -> None:
    traces = {path.stem for path in TRACES.glob("*.hvot")}
    assert traces == {name if k == "pools" else f"{name}-{k}" for k, name in RECORDINGS}


def test_memmap_pages_that_differ_are_told(trace: Golden) -> None:
    counted = Simulation(trace.setup)
    assert list(counted.events())
    right = replace(trace, setup=replace(trace.setup, memmap_pages=tuple(counted.memmap_pages)))
    assert golden.first_difference(right) == ""
    wrong = [*counted.memmap_pages]
    wrong[2] += 1
    told = golden.first_difference(
        replace(trace, setup=replace(trace.setup, memmap_pages=tuple(wrong)))
    )
    assert told.endswith(f"after 'grow 2MB 5': kernel {wrong[2]}, simulator {wrong[2] - 1}")


@pytest.mark.parametrize("generation", ["v17-enabled", "7.1"])
def test_the_same_operations_make_no_difference(tmp_path: Path, generation: str) -> None:
    made = stored(tmp_path, generation)
    assert len(made.events) > 2 * 4094
    assert golden.first_difference(made) == ""


def test_trimming_keeps_what_can_be_equal_and_nothing_else(tmp_path: Path) -> None:
    trimmed = []
    for seed in (1, 2):
        data = records(recording(tmp_path / f"{seed}.hvot", "6.7", seed=seed))
        some = b"".join(event.pack() for event in golden.trim(unpack_all(data)))
        assert list(canonical(unpack_all(some))) == list(canonical(unpack_all(data)))
        assert len(some) == len(data)
        trimmed.append(some)
    assert trimmed[0] == trimmed[1]


def test_a_golden_trace_is_small_and_says_what_it_is(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "6.0.hvot"
    golden.store(recorded, path, Setup("6.0", OPERATIONS), "python -m pytest")
    made = golden.load(path)
    assert path.stat().st_size < 9_000 < recorded.stat().st_size / 2
    assert made.setup == Setup("6.0", OPERATIONS)
    assert made.header.notes["command"] == "python -m pytest"
    assert made.header.generation == "6.0"
    keys = [key for _, key in made.counters.totals]
    assert made.counters.totals == reduce(unpack_all(records(path)), keys).totals


def test_the_first_difference_is_told_with_what_is_around_it(trace: Golden) -> None:
    exits = [n for n, event in enumerate(trace.events) if event.kind == Kind.OPTIMIZE_EXIT]
    at = exits[5]
    events = list(trace.events)
    events[at] = events[at]._replace(ptes=9)
    told = golden.first_difference(replace(trace, events=events)).splitlines()
    assert told[0].startswith("6.7.hvot (6.7 (sim, simulated), recorded ")
    assert told[0].endswith(f"event {at} differs, in 'grow 2MB 23' of the simulator 6.7")
    numbers = [line.split()[:2] for line in told if line.split()[0].isdecimal()]
    assert numbers == [
        *([str(n), "both"] for n in range(at - 3, at)),
        [str(at), "kernel"],
        [str(at), "simulator"],
        *([str(n), "both"] for n in range(at + 1, at + 4)),
    ]
    assert told[6] == "       differs in ptes (kernel 9, simulator 8)"


def test_a_missing_end_is_a_difference(trace: Golden) -> None:
    told = golden.first_difference(replace(trace, events=trace.events[:-1]))
    assert f"event {len(trace.events) - 1} differs, in 'shrink 2MB 509'" in told
    assert "kernel    has no more events" in told
    more = replace(trace, events=[*trace.events, trace.events[0]])
    assert "simulator has no more events" in golden.first_difference(more)


def test_another_generation_differs(trace: Golden) -> None:
    other = replace(trace, setup=replace(trace.setup, generation="6.0"))
    assert "event 0 differs, in 'grow 2MB 5'" in golden.first_difference(other)


def test_the_place_of_a_failure_is_compared() -> None:
    trace = golden.load(TRACES / "patched-short.hvot")
    assert {event.ret for event in trace.events} == {0, -ENOMEM}
    operations = list(trace.setup.operations)
    operations[operations.index("fail 3 1")] = "fail 4 1"
    later = replace(trace, setup=replace(trace.setup, operations=tuple(operations)))
    assert "in 'grow 1GB 1' of the simulator 5.14" in golden.first_difference(later)


def test_two_tasks_at_once_keep_their_own_addresses() -> None:
    def event(kind: Kind, pid: int, start: int) -> Event:
        return Event(kind=kind, pid=pid, start=start, end=start + 4096, cpu=pid)

    mixed = [
        event(Kind.REMAP_PTE, 7, 0x5000),  # of an operation that began before the recording
        event(Kind.OPTIMIZE_ENTER, 7, 0x100000),
        event(Kind.OPTIMIZE_ENTER, 9, 0x200000),
        event(Kind.REMAP_PTE, 7, 0x101000),
        event(Kind.REMAP_PTE, 9, 0x203000),
        event(Kind.OPTIMIZE_EXIT, 9, 0x200000),
        event(Kind.OPTIMIZE_EXIT, 7, 0x100000),
    ]
    trimmed = list(golden.trim(mixed))
    assert list(canonical(trimmed)) == list(canonical(mixed))
    assert [(e.pid, e.start & 0xFFFF) for e in trimmed] == [
        *((1, 0), (2, 0), (1, 0x1000), (2, 0x3000), (2, 0), (1, 0)),
    ]


def test_a_recording_with_losses_is_no_golden_trace(recorded: Path, tmp_path: Path) -> None:
    lossy = recording(tmp_path / "lossy.hvot", "6.0", queue=1009)
    with pytest.raises(TraceFileError, match=r"lossy\.hvot: it has lost events"):
        golden.store(lossy, tmp_path / "golden.hvot", Setup("6.0", OPERATIONS), "")
    cut = tmp_path / "cut.hvot"
    cut.write_bytes(recorded.read_bytes()[:-1])
    with pytest.raises(TraceFileError, match="cut short"):
        golden.store(cut, tmp_path / "golden.hvot", Setup("6.0", OPERATIONS), "")
    assert not (tmp_path / "golden.hvot").exists()


def test_the_command_line(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made/golden.hvot"
    operations = [word for text in OPERATIONS for word in ("--op", text)]
    storing = ["store", str(recorded), str(path), "--command", "pytest", *operations]
    assert golden.main([*storing, "--generation", "6.0"]) == 0
    assert golden.main(["compare", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert golden.main([*storing, "--generation", "6.7"]) == 0
    assert golden.main(["compare", str(path)]) == 1
    assert "event 0 differs" in capsys.readouterr().out
    assert golden.main(["compare", str(recorded)]) == 2
    assert "recording.hvot: no golden trace" in capsys.readouterr().err
