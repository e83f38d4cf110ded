# SPDX-License-Identifier: Apache-2.0
"""Read a BPF ring buffer through its own mapped pages: no bpf() call, no capability.

Layout: Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c (Linux 5.8): a writable page with
the consumer's position, a read-only one with the producer's, then the data, mapped twice over so
that no record is ever cut in two.
"""

import mmap
import select
import sys
from array import array

from probes.events import RECORD

_BUSY = 1 << 31
_DISCARD = 1 << 30
_HEADER = 8
_WORD = 4
_STRIDE = _HEADER + RECORD.size
_FINISHED = RECORD.size.to_bytes(_WORD, sys.byteorder)
"""The first word of a finished record's header: its length, and neither flag."""


class RingReader:
    """The one consumer of a ring buffer map."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Map the ring; ``size`` is its data in bytes. Raises ``OSError``."""
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(descriptor, page, mmap.MAP_SHARED)
        self._producer = mmap.mmap(
            descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        self._consumed = memoryview(self._consumer).cast("Q")
        self._produced = memoryview(self._producer)[:page].cast("Q")
        self._data = memoryview(self._producer)[page:]
        self._words = self._data.cast("I")
        self._size = size
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, timeout_ms: int) -> bytes:
        """Return all finished records; empty when none came within ``timeout_ms``.

        That is also how long a record may lie here: the program wakes nobody but for every 4096th.
        """
        records = self._take()
        if not records:
            self._poll.poll(timeout_ms)
            records = self._take()
        return records

    def close(self) -> None:
        """Unmap."""
        for view in (self._consumed, self._produced, self._words, self._data):
            view.release()
        self._consumer.close()
        self._producer.close()

    def _take(self) -> bytes:
        at, end = self._consumed[0], self._produced[0]
        taken: list[bytes] = []
        while at < end:
            place = at % self._size
            headers = self._headers(place, end - at)
            run = _leading(headers)
            if run:
                taken.append(self._without_headers(place, run))
                at += run * _STRIDE
                continue
            header = int.from_bytes(headers[:_WORD], sys.byteorder)
            if header & _BUSY:
                break
            length = header & ~(_BUSY | _DISCARD)
            if not header & _DISCARD:
                raise ValueError(f"a record of {length} bytes in the ring, not {RECORD.size}")
            at += (_HEADER + length + 7) & ~7
        self._consumed[0] = at
        return b"".join(taken)

    def _headers(self, place: int, room: int) -> bytes:
        """Copy the first words of the headers of records that stand back to back from ``place`` on.

        Copied once and only then looked at: the kernel finishes records in between.
        """
        first, most = place // _WORD, max(1, room // _STRIDE)
        step = _STRIDE // _WORD
        return self._words[first : first + (most - 1) * step + 1 : step].tobytes()

    def _without_headers(self, place: int, count: int) -> bytes:
        """Copy records, once their headers were seen to be finished: never the other way round."""
        entries = array("Q", self._data[place : place + count * _STRIDE].tobytes())
        del entries[:: _STRIDE // _HEADER]
        return entries.tobytes()


def _leading(headers: bytes) -> int:
    """How many of ``headers`` are those of finished records, up to the first that is not."""
    most = len(headers) // _WORD
    if headers == _FINISHED * most:
        return most
    return next(n for n, header in enumerate(array("I", headers)) if header != RECORD.size)
