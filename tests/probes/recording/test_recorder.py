# SPDX-License-Identifier: Apache-2.0
"""Recordings of a simulated kernel: their contents, and what a replay serves."""

import io
import threading
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from exporter.cli.progress import progress_display
from probes.counters import PAGE_DURATIONS, PageKey, reduce
from probes.events import unpack_all
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from probes.operations import parse_operation
from probes.recording.recorder import Limits, Recorder, Report, make_header
from probes.recording.replay import AT_ONCE, ReplayBackend
from probes.recording.trace_file import Block, Done, TraceReader
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.default import default_kernel, default_scenario
from tests.exporter.metrics.test_collector import scrape

OPERATIONS = ("grow 2MB 23", "grow 1GB 1", "hvo off", "grow 2MB 5", "shrink 2MB 11", "hvo on")


class Recorded:
    """Recording of a simulated kernel during the operations."""

    def __init__(self, path: Path, *, generation: str = "v17-enabled", queue: int = 65_536) -> None:
        self.path = path
        backend = SimBackend(
            SimKernel(generation, nodes=2, seed=3), stream=True, queue_records=queue
        )
        backend.start()
        stop = threading.Event()
        with path.open("wb", buffering=0) as file:
            recorder = Recorder(backend, file, make_header(backend, Host()))
            for text in OPERATIONS:
                backend.operate(parse_operation(text))
            self.scrape = scrape(backend)
            stop.set()
            recorder.run(Limits(), stop, lambda _report: None)
        self.report = recorder.report

    def read(self) -> tuple[list[Block], Done | None]:
        reader = TraceReader.open(self.path)
        blocks = list(reader.blocks())
        reader.close()
        return blocks, reader.done


def replayed_scrape(path: Path) -> dict[str, float]:
    backend = ReplayBackend(path, speed=AT_ONCE, stream=True)
    backend.start()
    for _ in backend.records():
        pass
    samples = scrape(backend)
    backend.stop()
    return samples


def of_the_kernel(samples: dict[str, float]) -> dict[str, float]:
    """Remove samples about the backend and about the scrape itself."""
    own = ("hvo_backend_info", "hvo_scrape_")
    return {k: v for k, v in samples.items() if not k.startswith(own)}


@pytest.mark.parametrize("generation", ["v17", "v17-enabled", "6.7"])
def test_a_replay_serves_the_same_scrape_as_the_recorded_backend(
    tmp_path: Path, generation: str
) -> None:
    recorded = Recorded(tmp_path / "t.hvot", generation=generation)
    replayed = replayed_scrape(recorded.path)
    assert of_the_kernel(replayed) == of_the_kernel(recorded.scrape)
    assert replayed["hvo_accounting_drift_frames"] == 0
    assert (
        f'hvo_backend_info{{backend="replay",kernel="{generation}",mode="simulated"}}' in replayed
    )


def test_recorded_events_reduce_to_the_recorded_counters(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "t.hvot")
    blocks, done = recorded.read()
    events = b"".join(block.records for block in blocks)
    keys = [PageKey(order, node) for order in (9, 18) for node in (0, 1)]
    assert reduce(unpack_all(events), keys, PAGE_DURATIONS) == blocks[-1].observation.counters
    assert done == (len(events) // 96, "interrupted")
    assert recorded.report.events == done.events > 4094
    assert recorded.report.bytes == recorded.path.stat().st_size
    assert recorded.report.lost == 0


def test_lost_events_are_counted_in_the_recording(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "t.hvot", queue=1009)
    assert recorded.report.lost > 0
    lost = 'hvo_events_lost_total{where="queue"}'
    assert replayed_scrape(recorded.path)[lost] == recorded.report.lost
    blocks, _ = recorded.read()
    kept = sum(len(block.records) // 96 for block in blocks)
    whole = Recorded(tmp_path / "whole.hvot").report.events
    assert kept + recorded.report.lost == whole


def test_the_header_has_no_host_identifiers(tmp_path: Path) -> None:
    cpus, nodes = tmp_path / "sys/devices/system/cpu", tmp_path / "sys/devices/system/node"
    cpus.mkdir(parents=True)
    nodes.mkdir()
    (cpus / "possible").write_text("0-22\n")
    (nodes / "online").write_text("0,2\n")
    host = Host(sys=tmp_path / "sys", release="6.1.0-test", machine="riscv64")
    live = LiveBackend(host, mode="range", stream=True)
    header = asdict(make_header(live, host))
    assert header.pop("wall_ns") > 10**18
    assert header.pop("monotonic_ns") == header.pop("events_ns") > 0
    assert header == {
        "backend": "bcc",
        "kernel": "6.1.0-test",
        "mode": "range",
        "page_size": 4096,
        "generation": "",
        "machine": "riscv64",
        "cpus": 23,
        "nodes": (0, 2),
        "probes": (),
        "hvoscope": version("hvoscope"),
        "event_version": 1,
        "notes": {},
    }


def test_the_header_of_a_simulation_has_its_generation(tmp_path: Path) -> None:
    backend = SimBackend(SimKernel("6.7"))
    backend.start()
    header = make_header(backend, Host())
    backend.stop()
    assert header.events_ns == 60 * 10**9  # since the simulated boot
    assert (header.kernel, header.generation, header.mode) == ("6.7", "6.7", "simulated")
    assert (header.machine, header.cpus) == ("", 0)
    assert "batch" in {probe.step for probe in header.probes}


def limited(limits: Limits, path: Path) -> TraceReader:
    """Record the default scenario, accelerated, and open the recording."""
    backend = SimBackend(
        default_kernel(), default_scenario(), stream=True, time_scale=1e3, queue_records=10**6
    )
    backend.start()
    with path.open("wb", buffering=0) as file:
        Recorder(backend, file, make_header(backend, Host())).run(
            limits, threading.Event(), lambda _report: None
        )
    return TraceReader.open(path)


def test_an_event_limit_is_exact(tmp_path: Path) -> None:
    reader = limited(Limits(events=1009), tmp_path / "t.hvot")
    kept = b"".join(block.records for block in reader.blocks())
    assert len(kept) == 1009 * 96
    assert reader.done == (1009, "1009 events")
    reader.close()


def test_a_duration_limit_ends_the_recording(tmp_path: Path) -> None:
    reader = limited(Limits(seconds=0.3), tmp_path / "t.hvot")
    blocks = list(reader.blocks())
    assert reader.done
    assert reader.done.reason == "0.3 seconds"
    assert blocks[-1].observation.time_ns - blocks[0].observation.time_ns >= 0.3e9
    reader.close()


class FullDisk(io.BytesIO):
    """A disk with space for the header and the first observation only."""

    def write(self, data: memoryview) -> int:  # type: ignore[override]  # the writer passes a memoryview
        if self.tell() > 0 and len(data) > 2000:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_full_disk_stops_the_backend() -> None:
    backend = SimBackend(SimKernel(), stream=True)
    backend.start()
    file = FullDisk()
    recorder = Recorder(backend, file, make_header(backend, Host()))
    backend.operate(parse_operation("grow 2MB 509"))
    with pytest.raises(OSError, match="No space left"):
        recorder.run(Limits(), threading.Event(), lambda _report: None)
    assert not backend.observe().status.ready
    reader = TraceReader(io.BytesIO(file.getvalue()), "t.hvot")
    assert [block.records for block in reader.blocks()] == [b""]


REPORT = Report(seconds=2.0, events=4094, bytes=23_000, lost=0)


@pytest.mark.parametrize(
    ("limits", "report", "shown"),
    [
        (Limits(), REPORT, "4,094 events (2,047/s), 23.0 kB, none lost"),
        (Limits(events=8188), replace(REPORT, lost=509), "509 lost"),
        (Limits(seconds=4), REPORT, "4,094 events"),
    ],
)
def test_progress_is_shown_on_a_terminal(limits: Limits, report: Report, shown: str) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with progress_display(limits, console) as show:
        show(report)
    assert shown in screen.getvalue()


def test_no_progress_is_shown_without_a_terminal() -> None:
    elsewhere = io.StringIO()
    with progress_display(Limits(), Console(file=elsewhere)) as show:
        show(REPORT)
    assert elsewhere.getvalue() == ""


def test_a_recording_keeps_the_stacks_of_its_events(tmp_path: Path) -> None:
    path = tmp_path / "t.hvot"
    backend = SimBackend(SimKernel("7.3"), stream=True, stacks=True)
    backend.start()
    stop = threading.Event()
    with path.open("wb", buffering=0) as file:
        recorder = Recorder(backend, file, make_header(backend, Host()))
        backend.operate(parse_operation("grow 2MB 23"))
        stop.set()
        recorder.run(Limits(), stop, lambda _report: None)
    replay = ReplayBackend(path, speed=AT_ONCE, stream=True)
    replay.start()
    assert replay.info.stacks
    events = [event for block in replay.records() for event in unpack_all(block)]
    numbers = {event.stack for event in events} - {0}
    assert len(numbers) == 2  # of the batch and of its pages
    for number in numbers:
        assert replay.stack(number) == backend.stack(number) != ()
    assert replay.stack(509) == ()
    replay.stop()
    with path.open("rb") as recorded:
        assert TraceReader(recorded, "t").header.event_version == 2


def test_a_stack_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "t.hvot"
    backend = SimBackend(
        default_kernel(), default_scenario(), stream=True, stacks=True, time_scale=1e3
    )
    backend.start()
    with path.open("wb", buffering=0) as file:
        recorder = Recorder(backend, file, make_header(backend, Host()))
        recorder.run(Limits(events=50_000), threading.Event(), lambda _report: None)
    reader = TraceReader.open(path)
    written = [number for block in reader.blocks() for number in block.stacks]
    reader.close()
    assert len(written) == len(set(written)) > 1
