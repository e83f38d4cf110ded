# SPDX-License-Identifier: Apache-2.0
"""Whether the reader of the event stream keeps up, and what it takes.

A process writes what the probes would into a ring laid out like the kernel's; here is the reader.
"""

import mmap
import multiprocessing
import os
import select
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

from probes.bpf.program import STREAM_PAGES, wake_every
from probes.bpf.ring import POLL_MS, RingReader
from probes.events import RECORD, Event, Kind, offset_of
from probes.live.numbering import Numbering
from tests.bench.figures import MORE, Figure, InexactError, Ratio, Section, figure, table

PAGE = mmap.PAGESIZE
RING = STREAM_PAGES * PAGE
PTES = 8
"""Of a 2 MB page from Linux 6.2 on: seven tails and the new head."""
KINDS = (Kind.OPTIMIZE_ENTER, Kind.REMAP_RANGE, *[Kind.REMAP_PTE] * PTES, Kind.OPTIMIZE_EXIT)
BATCHED = 900_000
"""PTEs a second: the fastest allocation that was published, in the cover letter of the series that
made Linux 6.7 optimise in batches."""
GROWTH = (BATCHED // 100, BATCHED // 10, BATCHED)
TICK_S = 0.001
_HEADER = struct.Struct("<II")
_PRODUCER = PAGE // 8
"""Of a ring's words, the one that says how far it is written."""
WAKE_EVERY = wake_every(RING, os.cpu_count() or 1)


class Ring:
    """A ring buffer as the kernel writes it: consumer's page, producer's page, data."""

    def __init__(self) -> None:
        """An empty one."""
        self.descriptor = os.memfd_create("ring")
        # The kernel maps the data twice over; here the second half only takes what runs over.
        size = 2 * PAGE + 2 * RING
        os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)
        self._positions = memoryview(self._memory)[: 2 * PAGE].cast("Q")
        self._entry = record_batch()
        self._length = _HEADER.size + len(self._entry)
        self.lost = 0
        """Records that found no room."""

    def has_room(self) -> bool:
        """For the records of one more page."""
        return self._positions[_PRODUCER] + self._length - self._positions[0] <= RING

    def write(self) -> bool:
        """Put the records of a page in, if there is room."""
        at, length = self._positions[_PRODUCER], self._length
        if not self.has_room():
            self.lost += len(KINDS)
            self._entry = record_batch(self.lost)
            return False
        place = 2 * PAGE + at % RING
        header = _HEADER.pack(len(self._entry), 0)
        self._memory[place : place + length] = header + self._entry
        self._positions[_PRODUCER] = at + length
        return True

    @contextmanager
    def reader(self) -> Iterator[RingReader]:
        """A reader, mapped."""
        reader = RingReader(self.descriptor, RING)
        yield reader
        reader.close()


class Kept(NamedTuple):
    """What was sent, and what became of it."""

    sent: int
    lost: int
    received: int
    missing: int
    """By the gaps between the numbers of those received."""
    reader_cpu: float
    """Of one CPU."""


def record_batch(lost: int = 0) -> bytes:
    """The records of one 2 MB page, written when so many were lost."""
    event = Event(sequence=lost, pid=23, tgid=23, comm=b"writer", order=9)
    return b"".join(event._replace(kind=kind).pack() for kind in KINDS)


def write_at(ring: Ring, ptes_a_second: int, seconds: float, said: Connection, wake: int) -> None:
    """Write evenly, a thousand times a second as much as is then due.

    ``wake`` is an eventfd, for the reader, as the ring is to a real one.
    """
    pages = woken = 0
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        while pages * PTES < now * ptes_a_second:
            ring.write()
            pages += 1
            if (due := pages * len(KINDS) // WAKE_EVERY) > woken:
                woken = due
                os.eventfd_write(wake, 1)
        time.sleep(TICK_S)  # the pace is what is measured: there is nothing to wait for
    # Records lost at the very end are a gap only before one more.
    while not ring.has_room():
        time.sleep(TICK_S)  # poll: nothing signals that the reader has freed space
    ring.write()
    said.send(((pages + 1) * len(KINDS), ring.lost))


def keep_up(ptes_a_second: int, seconds: float) -> Kept:
    """A writer at this rate, and a reader that looks as ``LiveBackend`` does."""
    ring, numbering = Ring(), Numbering()
    ours, theirs = multiprocessing.Pipe()
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    fork = multiprocessing.get_context("fork")
    writer = fork.Process(target=write_at, args=(ring, ptes_a_second, seconds, theirs, wake))
    waiting = select.poll()
    waiting.register(wake, select.POLLIN)
    received = following = 0
    with ring.reader() as reader:
        writer.start()
        cpu = time.process_time()
        while True:
            over = ours.poll()
            if block := numbering.number(reader.read(0)):
                received += len(block) // RECORD.size
                following = number_of_last(block) + 1
            elif over:
                break
            elif waiting.poll(POLL_MS):
                os.eventfd_read(wake)
        cpu = time.process_time() - cpu
    writer.join()
    os.close(wake)
    sent, lost = ours.recv()
    return Kept(sent, lost, received, following - received, cpu / seconds)


def number_of_last(block: bytes) -> int:
    """The number of the last record."""
    at = len(block) - RECORD.size + offset_of("sequence")
    return int.from_bytes(block[at : at + 8], sys.byteorder)


def read_full_ring() -> float:
    """Records a second from a full ring."""
    ring, numbering = Ring(), Numbering()
    while ring.write():
        pass
    with ring.reader() as reader:
        began = time.perf_counter()
        block = numbering.number(reader.read(0))
        return len(block) / RECORD.size / (time.perf_counter() - began)


def copy_full_ring() -> float:
    """Records a second by memcpy."""
    block, target = b"x" * RING, bytearray(b"y") * RING
    began = time.perf_counter()
    target[:] = block
    return RING / RECORD.size / (time.perf_counter() - began)


def measure(quick: bool) -> Section:
    """A minute, or some seconds if ``quick``."""
    rates = [(read_full_ring(), copy_full_ring()) for _ in range(3 if quick else 20)]
    seconds = 2.0 if quick else 10.0
    kept = {rate: keep_up(rate, seconds) for rate in (GROWTH[-1:] if quick else GROWTH)}
    return section(kept, *(figure(rate, "records/s") for rate in zip(*rates, strict=True)))


def section(kept: Mapping[int, Kept], reading: Figure, copying: Figure) -> Section:
    """What was kept at each rate, and how fast it could be."""
    for one in kept.values():
        if (one.received + one.lost, one.missing) != (one.sent, one.lost):
            raise InexactError(f"received {one.received}, gaps of {one.missing}: {one}")
    rows = [
        (f"{rate:,}", *(f"{n:,}" for n in one[:4]), f"{one.reader_cpu:.1%}")
        for rate, one in kept.items()
    ]
    columns = ("PTEs a second", "records sent", "lost", "received", "missing by their numbers",
               "reader's CPU")  # fmt: skip
    full = table("A full ring of 16 MiB, read at once", ("what", "rate", "of memcpy's"), (
        ("the stream's reader", reading, reading.over(copying)),
        ("memcpy", copying, 1),
    ))  # fmt: skip
    fastest = kept[BATCHED]
    ratios = {
        "stream.received_at_900_000": Ratio(
            fastest.received / fastest.sent,
            MORE,
            1.0,
            f"records received over records sent, at {BATCHED:,} PTEs a second",
        ),
        "stream.read_over_memcpy": Ratio(
            reading.over(copying).median, MORE, about="records a second, reader over memcpy"
        ),
    }
    return Section("Event stream", ABOUT, BOUNDS, (table(TITLE, columns, rows), full), ratios)


TITLE = "A writer and the reader, a CPU each"
ABOUT = (
    "A process on this machine writes the records that the probes write for 2 MB pages into a ring"
    " laid out like the kernel's; the daemon's own reader takes and numbers them. The highest rate"
    " is that of the fastest allocation that was published (874,000 PTEs a second in the cover"
    " letter of Linux 6.7's batching), rounded up."
)
BOUNDS = (
    "the reader by Python for each entry and for each record's number; what is done with the"
    " records then comes on top. It looks ten times a second, and is woken where more comes."
)
