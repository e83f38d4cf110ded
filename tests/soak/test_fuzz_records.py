# SPDX-License-Identifier: Apache-2.0
"""Mutated event records and trace files: each is read, or rejected in one line."""

import io
from random import Random

import pytest

from probes.counters import Counters, reduce
from probes.events import RECORD, VERSION, Event, Kind, Reason, unpack_all
from probes.observation import Observation
from probes.recording.trace_file import Header, TraceFileError, TraceReader, TraceWriter
from tests.soak.mutate import mutations

pytestmark = pytest.mark.soak

INPUTS = 10_000
TRACES = 6_000


def good_records(seed: int, count: int) -> bytes:
    random = Random(seed)
    return b"".join(
        Event(
            kind=random.choice(list(Kind)),
            sequence=n,
            ptes=random.choice((0, 7, 4095)),
            frames_freed=7,
            frames_allocated=1,
            duration_ns=random.randrange(1 << 40),
            ret=random.choice((0, 0, -12)),
            reason=random.choice(list(Reason)),
            order=9,
            comm=b"sysctl",
        ).pack()
        for n in range(count)
    )


def test_records() -> None:
    """A parsed record packs to the same bytes, and is counted by its content."""
    read = 0
    for data in mutations(23, [good_records(n, 5) for n in range(7)], INPUTS, (bytes(96), b"\xff")):
        try:
            events = list(unpack_all(data))
        except ValueError:
            whole = len(data) % RECORD.size == 0
            tails = [data[i + 76 : i + 80] for i in range(0, len(data), RECORD.size)]
            assert not whole or any(t[3] != VERSION or t[0] not in list(Kind) for t in tails)
            continue
        read += 1
        packed = b"".join(event.pack() for event in events)
        assert packed[:80] == data[:80]  # except the bytes after the end of comm
        counted(events)
    assert read > INPUTS / 10


def counted(events: list[Event]) -> None:
    try:
        counters: Counters = reduce(events)
    except ValueError:
        assert any(event.reason not in list(Reason) for event in events)
        return
    enters = sum(event.kind == Kind.OPTIMIZE_ENTER for event in events)
    assert (counters.total("optimize_calls") or 0) == enters
    ptes = sum(e.ptes for e in events if e.kind == Kind.OPTIMIZE_EXIT and e.ret >= 0)
    assert (counters.total("ptes_remapped") or 0) == ptes


def good_trace() -> bytes:
    file = io.BytesIO()
    writer = TraceWriter(file, Header("sim", "7.1", "simulated", 4096, 5, 1_700_000_000))
    writer.write(Observation(1), good_records(1, 23))
    writer.write(Observation(2), good_records(2, 23))
    writer.finish("the end")
    return file.getvalue()


def test_traces() -> None:
    """A corrupt trace yields complete written blocks, and then an error with the offset."""
    good = good_trace()
    reader = TraceReader(io.BytesIO(good), "good")
    written = [block.records for block in reader.blocks()]
    refused = 0
    for data in mutations(
        509, [good], TRACES, (b"DATA", b"DONE", b"HVOTRACE", b"\xff\xff\xff\xff")
    ):
        blocks: list[bytes] = []
        try:
            reader = TraceReader(io.BytesIO(data), "bad")
            blocks.extend(block.records for block in reader.blocks())
        except TraceFileError as error:
            refused += 1
            assert str(error).startswith("bad: offset ")
            assert len(str(error).splitlines()) == 1
        assert all(records in written for records in blocks)
    assert refused > TRACES / 2
