# SPDX-License-Identifier: Apache-2.0
"""The reader, with an ordinary file that has the layout of a kernel ring buffer."""

import mmap
import multiprocessing
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.bpf.ring import RingReader
from probes.events import RECORD, Event, Kind

PAGE = mmap.PAGESIZE
SIZE = PAGE
BUSY, DISCARD = 1 << 31, 1 << 30
STRIDE = 8 + RECORD.size


class Ring:
    """The producer: consumer page, producer page, data, and the data again."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.produced = 0

    def put(self, record: bytes, flags: int = 0) -> None:
        entry = struct.pack("<II", len(record) | flags, 0) + record
        for i, byte in enumerate(entry):
            offset = (self.produced + i) % SIZE
            for copy in (0, SIZE):
                os.pwrite(self.fd, bytes([byte]), 2 * PAGE + copy + offset)
        self.produced += -(-len(entry) // 8) * 8
        os.pwrite(self.fd, struct.pack("<Q", self.produced), PAGE)

    def finish(self, at: int, record: bytes) -> None:
        """Clear the flags of the record at ``at``."""
        for copy in (0, SIZE):
            os.pwrite(self.fd, struct.pack("<I", len(record)), 2 * PAGE + copy + at % SIZE)

    @property
    def consumed(self) -> int:
        return int(struct.unpack("<Q", os.pread(self.fd, 8, 0))[0])


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring()
    yield made
    os.close(made.fd)


@pytest.fixture
def reader(ring: Ring) -> Iterator[RingReader]:
    made = RingReader(ring.fd, SIZE)
    yield made
    made.close()


def record(number: int) -> bytes:
    return Event(kind=Kind.REMAP_PTE, sequence=number).pack()


def test_records_are_read_in_order_and_their_space_is_released(
    ring: Ring, reader: RingReader
) -> None:
    ring.put(record(0))
    ring.put(record(1))
    assert reader.read(0) == record(0) + record(1)
    assert ring.consumed == ring.produced == 2 * 104
    assert reader.read(0) == b""


def test_records_are_read_across_the_end_of_the_ring(ring: Ring, reader: RingReader) -> None:
    for number in range(200):  # five times around the ring
        ring.put(record(number))
        assert reader.read(0) == record(number)
    assert ring.produced > 5 * SIZE


def test_an_entry_may_contain_many_records(ring: Ring, reader: RingReader) -> None:
    numbers = iter(range(1009))
    while many := b"".join(record(n) for _, n in zip(range(16), numbers, strict=False)):
        ring.put(many)
        assert reader.read(0) == many
    assert ring.consumed == ring.produced > 20 * SIZE


def test_discarded_records_are_skipped(ring: Ring, reader: RingReader) -> None:
    ring.put(record(0), DISCARD)
    ring.put(record(1))
    assert reader.read(0) == record(1)


def test_reading_stops_at_an_uncommitted_record(ring: Ring, reader: RingReader) -> None:
    ring.put(record(0))
    ring.put(record(1), BUSY)
    ring.put(record(2))
    assert reader.read(0) == record(0)
    assert ring.consumed == 104


def test_an_entry_with_a_partial_record_is_rejected(ring: Ring, reader: RingReader) -> None:
    ring.put(b"x" * 200)
    with pytest.raises(
        ValueError, match=r"ring buffer entry: 200 bytes \(expected a multiple of 96\)"
    ):
        reader.read(0)


def test_all_records_before_the_first_uncommitted_one_are_read_at_once(
    ring: Ring, reader: RingReader
) -> None:
    for number in range(30):  # so that the records below cross the end of the ring
        ring.put(record(number))
    reader.read(0)
    for number in range(23):
        ring.put(record(number))
    at = ring.produced
    ring.put(record(23), BUSY)
    ring.put(record(24))
    assert reader.read(0) == b"".join(map(record, range(23)))
    assert ring.consumed == at
    ring.finish(at, record(23))
    assert reader.read(0) == record(23) + record(24)


@given(st.lists(st.tuples(st.sampled_from(("put", "pack", "discard", "read")), st.integers(1, 12))))
def test_every_committed_record_is_read_exactly_once(actions: list[tuple[str, int]]) -> None:
    ring = Ring()
    reader = RingReader(ring.fd, SIZE)
    put, got = 0, b""
    for what, number in actions:
        if what == "put":
            for _ in range(min(number, (SIZE - ring.produced + ring.consumed) // 104)):
                ring.put(record(put))
                put += 1
        elif what == "pack" and SIZE - ring.produced + ring.consumed >= 8 + RECORD.size * number:
            ring.put(b"".join(record(put + i) for i in range(number)))
            put += number
        elif what == "discard" and SIZE - ring.produced + ring.consumed >= 8 + 16 * number:
            ring.put(b"x" * 16 * number, DISCARD)
        else:
            got += reader.read(0)
    got += reader.read(0)
    assert got == b"".join(map(record, range(put)))
    reader.close()
    os.close(ring.fd)


def produce(ring: Ring, records: list[bytes]) -> None:
    for record in records:
        while ring.produced - ring.consumed > SIZE - 2 * STRIDE:
            pass
        at = ring.produced
        ring.put(bytes(len(record)), BUSY)
        for copy in (0, SIZE):
            os.pwrite(ring.fd, record, 2 * PAGE + copy + (at + 8) % SIZE)
        ring.finish(at, record)


def test_records_written_during_reading_are_read(ring: Ring, reader: RingReader) -> None:
    records = [Event(sequence=n, kind=Kind.REMAP_PTE).pack() for n in range(1009)]
    producer = multiprocessing.get_context("fork").Process(target=produce, args=(ring, records))
    producer.start()
    read = bytearray()
    while len(read) < len(records) * len(records[0]):
        read += reader.read(0)
    producer.join()
    assert bytes(read) == b"".join(records)
