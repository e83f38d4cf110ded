# SPDX-License-Identifier: Apache-2.0
"""Read a BPF ring buffer through its own mapped pages: no bpf() call, no capability.

Layout: Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c (Linux 5.8): a writable page with
the consumer's position, a read-only one with the producer's, then the data, mapped twice over so
that no record is ever cut in two.
"""

import mmap
import select

from probes.events import RECORD

POLL_MS = 100
"""How long to wait for what nobody wakes the reader for."""

_BUSY = 1 << 31
_DISCARD = 1 << 30
_HEADER = 8
_WORD = 4


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

        That is also how long they may lie here: the program wakes nobody while little has come.
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
        """Copy every entry up to the first that is not finished; each is some whole records."""
        at, end = self._consumed[0], self._produced[0]
        taken: list[memoryview] = []
        while at < end:
            place = at % self._size
            header = self._words[place // _WORD]
            if header & _BUSY:
                break
            length = header & ~_DISCARD
            if not header & _DISCARD:
                if length % RECORD.size:
                    raise ValueError(f"an entry of {length} bytes in the ring: no whole records")
                taken.append(self._data[place + _HEADER : place + _HEADER + length])
            at += (_HEADER + length + 7) & ~7
        records = b"".join(taken)
        self._consumed[0] = at  # only now may the kernel write there
        return records
