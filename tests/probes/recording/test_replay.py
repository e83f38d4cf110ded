# SPDX-License-Identifier: Apache-2.0
"""Replay of a trace: what it returns at which moment."""

import threading
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from probes.backend import BackendError, Info, Start
from probes.counters import Counters, PageKey, Slot
from probes.events import Event, Kind
from probes.observation import (
    DRIFT,
    NOT_ASKED,
    Census,
    Memmap,
    Observation,
    Pool,
    Pools,
    Probes,
    ProbeStatus,
    Status,
)
from probes.recording.replay import AT_ONCE, ReplayBackend, parse_speed
from probes.recording.trace_file import Header, TraceFileError, TraceWriter

HEADER = Header("bcc", "6.1.0-test", "range", 4096, monotonic_ns=0, wall_ns=1_764_000_000 * 10**9)
PROBES = (ProbeStatus("optimize", True, "hugetlb_vmemmap_optimize", "kprobe"),)


def seen(second: int, calls: int) -> Observation:
    return Observation(
        second * 10**9,
        Probes(
            Counters({(Slot("optimize_calls"), PageKey(9, 0)): calls}),
            Status(True, PROBES, missed={"optimize": calls}),
        ),
        Pools((Pool(2 << 20, 0, "total", calls),), {2 << 20: calls}, {2 << 20: 509}),
        calls > 0,
        Census({PageKey(9, 0): calls}, {9: 7}),
        Memmap({"boot": 509, "runtime": calls}, calls * 4096),
        calls * 7,
    )


def records(count: int) -> bytes:
    return b"".join(Event(kind=Kind.REMAP_PTE, sequence=n).pack() for n in range(count))


RECORDED = ((seen(100, 0), b""), (seen(101, 23), records(23)), (seen(103, 509), b""))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "t.hvot"
    with path.open("wb", buffering=0) as file:
        writer = TraceWriter(file, HEADER)
        for part in RECORDED:
            writer.write(*part)
        writer.finish("3 seconds")
    return path


class Time:
    """A clock that advances only by waiting."""

    def __init__(self) -> None:
        self.now = 7.0

    def wait(self, _stopping: threading.Event, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


def streaming(path: Path, speed: float = AT_ONCE) -> tuple[ReplayBackend, Time]:
    time = Time()
    return ReplayBackend(path, speed=speed, stream=True, wait=time.wait, clock=time.clock), time


def eventually(what: Callable[[], bool]) -> None:
    never = threading.Event()
    for _ in range(1000):
        if what():
            return
        never.wait(0.01)
    raise TimeoutError


@pytest.mark.parametrize(("speed", "at", "end"), [(1.0, 1.0, 3.0), (10.0, 0.1, 0.3), (inf, 0, 0)])
def test_records_arrive_at_their_recorded_times(
    trace: Path, speed: float, at: float, end: float
) -> None:
    backend, time = streaming(trace, speed)
    backend.start()
    arrived = [(block, time.now - 7) for block in backend.records() if block]
    assert [block for block, _ in arrived] == [records(23)]
    assert arrived[0][1] == pytest.approx(at)
    assert time.now - 7 == pytest.approx(end)
    backend.stop()


def test_empty_blocks_arrive_every_half_second(trace: Path) -> None:
    backend, time = streaming(trace, 1.0)
    backend.start()
    moments = [time.now - 7 for block in backend.records() if not block]
    assert moments == pytest.approx([0.5, 1.5, 2.0, 2.5])
    backend.stop()


def test_observe_returns_the_latest_recorded_observation(trace: Path) -> None:
    backend, _ = streaming(trace, 1.0)
    before = backend.observe()
    assert (before.status, before.counters) == (Status(False, problem="not started"), Counters())
    assert (before.pools, before.switch, before.memmap, before.drift) == (NOT_ASKED,) * 4
    backend.start()
    stream = backend.records()
    for shown, _ in RECORDED:
        assert backend.observe() == shown
        next((block for block in stream if block), b"")
    backend.stop()


def test_observe_returns_only_the_requested_parts(trace: Path) -> None:
    backend, _ = streaming(trace)
    backend.start()
    assert backend.observe((DRIFT,)) == Observation(100 * 10**9, drift=0)
    backend.stop()


@pytest.mark.parametrize(("speed", "second"), [(1.0, 100.5), (4.0, 102)])
def test_time_is_that_of_the_recording_at_any_speed(
    trace: Path, speed: float, second: float
) -> None:
    backend, time = streaming(trace, speed)
    backend.start()
    assert backend.observe().time_ns == 100 * 10**9
    assert next(backend.records()) == (b"" if speed == 1 else records(23))
    time.now = 7.5
    assert backend.observe().time_ns == second * 10**9
    backend.stop()


def test_info_describes_the_recording(trace: Path) -> None:
    backend, _ = streaming(trace)
    assert backend.info == Info(
        *("replay", "6.1.0-test", "range", 4096),
        f"replay of {trace}: {backend.header.about()}",
        start=Start(1_764_000_000 * 10**9, 0, 0),
    )
    assert backend.header.about() == ("6.1.0-test (bcc, range), recorded 2025-11-24 16:00:00 UTC")
    backend.stop()


def test_without_a_stream_a_thread_advances_the_replay(trace: Path) -> None:
    backend = ReplayBackend(trace, speed=AT_ONCE, wait=Time().wait)
    backend.start()
    eventually(lambda: backend.observe() == RECORDED[-1][0])
    assert backend.observe().status.ready
    with pytest.raises(BackendError, match="no event stream"):
        backend.records()
    backend.stop()
    backend.stop()
    assert backend.observe() == RECORDED[-1][0]


def test_stop_ends_the_stream(trace: Path) -> None:
    backend, _ = streaming(trace, 1.0)
    backend.start()
    stream = backend.records()
    assert next(stream) == b""
    backend.stop()
    assert list(stream) == []


def test_a_truncated_recording_is_replayed_up_to_its_last_whole_block(trace: Path) -> None:
    trace.write_bytes(trace.read_bytes()[:-1])
    backend, _ = streaming(trace)
    backend.start()
    assert b"".join(backend.records()) == records(23)
    assert "cut short" in backend.missing
    assert backend.observe().status.ready
    backend.stop()


def test_a_damaged_recording_is_reported_and_not_ready(trace: Path) -> None:
    damaged = bytearray(trace.read_bytes())
    damaged[-100] ^= 1
    trace.write_bytes(damaged)
    backend, _ = streaming(trace)
    backend.start()
    with pytest.raises(TraceFileError, match=f"{trace}: offset"):
        list(backend.records())
    backend.stop()
    played = ReplayBackend(trace, speed=AT_ONCE, wait=Time().wait)
    played.start()
    eventually(lambda: not played.observe().status.ready)
    assert str(trace) in played.observe().status.problem
    played.stop()


def test_an_empty_recording_can_not_be_started(tmp_path: Path) -> None:
    path = tmp_path / "t.hvot"
    with path.open("wb", buffering=0) as file:
        TraceWriter(file, HEADER)
    backend, _ = streaming(path)
    with pytest.raises(BackendError, match="cut short"):
        backend.start()
    backend.stop()


@pytest.mark.parametrize(
    ("text", "speed"), [("real", 1), ("max", inf), ("x10", 10), ("x0.5", 0.5), ("x1e3", 1000)]
)
def test_parse_speed_accepts_real_max_and_factors(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "10", "x", "x0", "x-1", "xinf", "xnan", "fast"])
def test_parse_speed_rejects_invalid_text(text: str) -> None:
    with pytest.raises(ValueError, match="invalid speed"):
        parse_speed(text)
