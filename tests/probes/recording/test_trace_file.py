# SPDX-License-Identifier: Apache-2.0
"""The trace file: round trips, and errors for every kind of damage."""

import hashlib
import io
import json
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.counters import Counters, Histogram, PageKey, Slot
from probes.events import RECORD, VERSION, Event, Kind, Reason, offset_of
from probes.observation import (
    Absent,
    Census,
    Failed,
    Memmap,
    Observation,
    Pool,
    Pools,
    Probes,
    ProbeStatus,
    Status,
)
from probes.recording import observation_json, trace_block
from probes.recording.trace_block import FASTEST
from probes.recording.trace_file import Block, Header, TraceFileError, TraceReader, TraceWriter

PROBES = (
    ProbeStatus("optimize", True, "free_huge_page_vmemmap", "kprobe"),
    ProbeStatus("batch", False, reason="this kernel has no such function"),
)
HEADER = Header(
    backend="bcc",
    kernel="6.1.0-test",
    mode="full",
    page_size=4096,
    monotonic_ns=5,
    wall_ns=1_700_000_000_000_000_000,
    machine="x86_64",
    cpus=2,
    nodes=(0, 1),
    probes=PROBES,
    notes={"command": "hvoscope record x"},
    events_ns=7,
)
KEY = PageKey(9, 1)
FULL = Observation(
    17,
    Probes(
        Counters(
            {(Slot("optimize_calls"), KEY): 23, (Slot("frames_allocated", "head"), KEY): 0},
            {("optimize", 9): Histogram((1,) * 20, 12345)},
            epoch=3,
        ),
        Status(True, PROBES, "", {"optimize": 0}, {"ring": 3}, {"operations": 0}),
    ),
    Pools((Pool(2 << 20, 1, "total", 23),), {2 << 20: 3}, {2 << 20: 509}),
    True,
    Census({KEY: 37, PageKey(18, 0): 0}, {9: 7}),
    Memmap({"boot": 100, "runtime": 7}, 138 * 4096),
    -7,
    ("restore-leak",),
)
UNKNOWN = Observation(
    19,
    Failed("OSError: map is gone"),
    Failed("ValueError: nr_hugepages: not a number: 'many'"),
    Absent("there is no switch"),
    Absent("the kernel has no BTF"),
    Memmap({}, Absent("not counted")),
    Absent("moving"),
    Absent("no BTF"),
)
EMPTY = Observation(18)


def records(count: int) -> bytes:
    return b"".join(
        Event(kind=Kind.REMAP_PTE, sequence=n, start=n << 12, order=9, comm=b"sysctl").pack()
        for n in range(count)
    )


def written(*blocks: Block, done: bool = True) -> bytes:
    file = io.BytesIO()
    writer = TraceWriter(file, HEADER)
    for block in blocks:
        writer.write(*block)
    if done:
        writer.finish("23 events")
    assert writer.bytes == len(file.getvalue())
    return file.getvalue()


def reader(data: bytes) -> TraceReader:
    return TraceReader(io.BytesIO(data), "t.hvot")


BLOCKS = (Block(FULL, b""), Block(EMPTY, records(509)), Block(FULL, records(23)))
WHOLE = written(*BLOCKS)


def test_a_trace_is_read_as_it_was_written() -> None:
    trace = reader(WHOLE)
    assert trace.header == HEADER
    blocks = tuple(trace.blocks())
    assert blocks == BLOCKS
    assert [block.observation.counters.epoch for block in blocks] == [3, 0, 3]
    assert trace.done == (509 + 23, "23 events")
    assert trace.missing == ""


def test_absent_and_failed_parts_are_read_with_their_reasons() -> None:
    (block,) = reader(written(Block(UNKNOWN, b""))).blocks()
    assert block.observation == UNKNOWN


def test_an_old_recording_without_reasons_and_drift_is_read() -> None:
    content = observation_json.to_json(FULL)
    for key in ("unknown", "drift", "bugs"):
        del content[key]
    content["enabled"] = None
    seen = observation_json.from_json(content)
    unknown = Absent("not in the recording")
    assert seen == replace(FULL, switch=unknown, drift=unknown, bugs=unknown)


ANY = st.tuples(
    st.binary(min_size=RECORD.size, max_size=RECORD.size),
    st.sampled_from(Kind),
    st.sampled_from(Reason),
)


def made_up(data: bytes, kind: int, reason: int = 0, version: int = VERSION) -> bytes:
    """Return a record in which only these fields are valid."""
    record = bytearray(data)
    for name, value in (("kind", kind), ("reason", reason), ("version", version)):
        record[offset_of(name)] = value
    return bytes(record)


@given(st.lists(ANY, max_size=50))
def test_any_record_is_read_as_it_was_written(some: list[tuple[bytes, Kind, Reason]]) -> None:
    block = Block(EMPTY, b"".join(made_up(*record) for record in some))
    assert list(reader(written(block)).blocks()) == [block]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (made_up(bytes(96), 10), "an event record has the unknown kind 10"),
        (made_up(bytes(96), Kind.REMAP_PTE, 5), "an event record has the unknown reason 5"),
        (made_up(bytes(96), Kind.REMAP_PTE, 0, 2), "an event record has the unknown version 2"),
    ],
)
def test_records_with_unknown_values_are_rejected(record: bytes, message: str) -> None:
    trace = reader(written(Block(EMPTY, records(5) + record)))
    with pytest.raises(TraceFileError, match=message):
        list(trace.blocks())


def test_a_truncated_file_yields_its_whole_blocks_and_reports_the_offset() -> None:
    ends = [len(written(*BLOCKS[:n], done=False)) for n in range(4)]
    for size in range(ends[0], len(WHOLE)):
        trace = reader(WHOLE[:size])
        whole = sum(size >= end for end in ends[1:])
        assert tuple(trace.blocks()) == BLOCKS[:whole]
        assert trace.done is None
        assert f"offset {ends[whole]}" in trace.missing
        assert trace.missing.startswith("t.hvot: cut short: ")


def test_a_file_truncated_in_its_header_is_rejected() -> None:
    for size in range(len(written(done=False))):
        with pytest.raises(TraceFileError, match=r"^t\.hvot: offset \d+: ") as raised:
            reader(WHOLE[:size])
        assert "\n" not in str(raised.value)


def test_every_damaged_byte_is_detected() -> None:
    for at in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[at] ^= 0x40
        with pytest.raises(TraceFileError, match=r"^t\.hvot: offset \d+: "):
            list(reader(bytes(damaged)).blocks())


def test_damage_is_reported_with_the_offset_of_its_block() -> None:
    start = len(written(*BLOCKS[:1], done=False))
    damaged = bytearray(WHOLE)
    damaged[start + 50] ^= 1
    blocks = reader(bytes(damaged)).blocks()
    assert next(blocks) == BLOCKS[0]
    with pytest.raises(TraceFileError, match=f"offset {start}: a block has a wrong checksum"):
        next(blocks)


def test_another_format_version_is_rejected() -> None:
    newer = WHOLE[:8] + struct.pack("<I", 2) + WHOLE[12:]
    with pytest.raises(TraceFileError, match=r"unsupported trace format 2 \(expected 1\)"):
        reader(newer)


@pytest.mark.parametrize("foreign", [b"", b"HVO", b"\x7fELF" * 9, records(3)])
def test_a_file_of_another_format_is_rejected(foreign: bytes) -> None:
    with pytest.raises(TraceFileError, match=r"t\.hvot: offset \d: "):
        reader(foreign)


def test_a_missing_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match="none: No such file or directory"):
        TraceReader.open(tmp_path / "none")
    with pytest.raises(TraceFileError, match="Is a directory"):
        TraceReader.open(tmp_path)


def test_a_block_that_decompresses_to_too_much_is_rejected() -> None:
    block = trace_block.pack(b"DATA", {}, records(2))
    prefix = trace_block.unpack_prefix(block[: trace_block.PREFIX.size])
    stored = block[trace_block.PREFIX.size :]
    with pytest.raises(trace_block.DamagedError, match="does not decompress to"):
        trace_block.unpack(prefix._replace(records=1), stored)


def test_a_block_stored_in_more_bytes_than_it_can_take_is_rejected() -> None:
    """Its reader would ask for as much memory as the prefix says."""
    prefix = trace_block.PREFIX.pack(b"DATA", 2, 0, 1 << 31, 0, 0)[:-4]
    with pytest.raises(trace_block.DamagedError, match="2 bytes is stored in 2147483648"):
        trace_block.unpack_prefix(prefix + struct.pack("<I", zlib.crc32(prefix)))


def test_what_does_not_compress_is_read() -> None:
    noise = b"".join(hashlib.sha256(bytes((n,))).digest() for n in range(23 * 3))
    for level, content in ((0, noise), (9, noise), (0, b"")):
        block = trace_block.pack(b"DATA", {}, content, level=level)
        prefix = trace_block.unpack_prefix(block[: trace_block.PREFIX.size])
        assert trace_block.unpack(prefix, block[trace_block.PREFIX.size :]) == ({}, content)


def json_block(tag: bytes, text: bytes) -> bytes:
    """A block with this JSON and right checksums."""
    stored = zlib.compress(text)
    fields = (tag, len(text), 0, len(stored), zlib.crc32(stored))
    crc = zlib.crc32(trace_block.PREFIX.pack(*fields, 0)[:-4])
    return trace_block.PREFIX.pack(*fields, crc) + stored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "has invalid JSON"),
        (json.dumps({**observation_json.to_json(EMPTY), "unknown": []}).encode(), "invalid JSON"),
    ],
)
def test_json_of_another_shape_is_rejected(text: bytes, message: str) -> None:
    trace = reader(written(done=False) + json_block(b"DATA", text))
    with pytest.raises(TraceFileError, match=rf"t\.hvot: offset \d+: .*{message}"):
        list(trace.blocks())


@pytest.mark.parametrize(
    ("key", "value"),
    [("wall_ns", 1 << 63), ("wall_ns", -1), ("cpus", "2"), ("kernel", None), ("mode", ["full"])],
)
def test_a_header_that_cannot_be_told_is_rejected(key: str, value: object) -> None:
    header = json.dumps({**asdict(HEADER), key: value}).encode()
    with pytest.raises(TraceFileError, match=rf"t\.hvot: offset 12: the header's {key} is"):
        reader(WHOLE[:12] + json_block(b"HEAD", header))


class Full(io.BytesIO):
    """A disk with limited space."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: memoryview) -> int:  # type: ignore[override]  # the writer passes a memoryview
        taken = min(len(data), self.room - self.tell())
        if not taken:
            raise OSError(28, "No space left on device")
        return super().write(data[:taken])


def test_a_full_disk_leaves_only_whole_blocks() -> None:
    file = Full(len(written(*BLOCKS[:2], done=False)) + 100)
    writer = TraceWriter(file, HEADER)
    writer.write(*BLOCKS[0])
    writer.write(*BLOCKS[1])
    with pytest.raises(OSError, match="No space left"):
        writer.write(FULL, records(10_000))
    assert file.getvalue() == written(*BLOCKS[:2], done=False)


def test_writing_and_reading_have_no_work_for_each_record() -> None:
    """CPU time beside zlib's: on a busy machine five times as long, with such work fifty times."""
    some = records(10_000)
    blocks = [Block(FULL, some)] * 20
    data, packed = written(*blocks), zlib.compress(some, FASTEST)

    def seconds(job: Callable[[], object]) -> float:
        begin = time.process_time()
        job()
        return time.process_time() - begin

    assert sum(len(block.records) for block in reader(data).blocks()) == 20 * len(some)
    jobs: tuple[Callable[[], object], ...] = (
        lambda: written(*blocks),
        lambda: [zlib.compress(some, FASTEST) for _ in blocks],
        lambda: list(reader(data).blocks()),
        lambda: [zlib.decompress(packed) for _ in blocks],
    )
    write, compress, read, decompress = (min(seconds(job) for _ in range(3)) for job in jobs)
    assert write < 12 * compress
    assert read < 12 * decompress


def test_the_events_clock_of_older_recordings(tmp_path: Path) -> None:
    """They do not tell it: a real kernel's is CLOCK_MONOTONIC, a simulated one's is unknown."""
    for mode, clock in (("full", HEADER.monotonic_ns), ("simulated", None)):
        path = tmp_path / mode
        with path.open("wb", buffering=0) as file:
            TraceWriter(file, replace(HEADER, mode=mode, events_ns=None))
        reader = TraceReader.open(path)
        reader.close()
        assert reader.header.events_ns == clock


@pytest.mark.parametrize("stacks", [["f"], {"x": ["f"]}, {"1": 2}, "f"])
def test_invalid_stacks_are_rejected(stacks: object) -> None:
    content = {**observation_json.to_json(EMPTY), "stacks": stacks}
    trace = reader(written(done=False) + trace_block.pack(b"DATA", content))
    with pytest.raises(TraceFileError, match=r"t\.hvot: offset \d+: "):
        list(trace.blocks())


def test_stacks_are_read_as_they_were_written() -> None:
    stacks = {1: ("f+0x1", "g"), 23: ()}
    file = io.BytesIO()
    TraceWriter(file, HEADER).write(EMPTY, b"", stacks)
    (block,) = TraceReader(io.BytesIO(file.getvalue()), "t").blocks()
    assert block.stacks == stacks


def test_an_older_recordings_census_has_no_time() -> None:
    content = observation_json.to_json(FULL)
    del content["census"]["taken"]
    seen = observation_json.from_json(content)
    assert seen.census == Census({KEY: 37, PageKey(18, 0): 0}, {9: 7}, None)
