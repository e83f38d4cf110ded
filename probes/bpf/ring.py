# SPDX-License-Identifier: Apache-2.0
"""Reader of a BPF ring buffer through mmap: needs neither bpf() calls nor capabilities.

Layout (Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c, Linux 5.8): a writable page with the
consumer position, a read-only page with the producer position, then the data, which is mapped twice
in a row so that every record is contiguous.
"""

import mmap
import select

from probes.events import RECORD

POLL_MS = 100
"""Poll interval; small batches do not wake the reader."""

_BUSY = 1 << 31
_DISCARD = 1 << 30
_HEADER = 8
_WORD = 4


class RingReader:
    """The only consumer of a ring buffer map."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Map the ring buffer; ``size`` is that of its data in bytes. Raises ``OSError``."""
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
        """Return all committed records; empty if there are none within ``timeout_ms``.

        The timeout is also the maximum delay of records, because the program does not wake the
        reader for a few of them.
        """
        records = self._take()
        if not records:
            self._poll.poll(timeout_ms)
            records = self._take()
        return records

    def close(self) -> None:
        """Unmap the ring buffer."""
        for view in (self._consumed, self._produced, self._words, self._data):
            view.release()
        self._consumer.close()
        self._producer.close()

    def _take(self) -> bytes:
        """Copy all entries up to the first that is not committed; each has whole records."""
        at, end = self._consumed[0], self._produced[0]
        taken: list[memoryview] = []
        while at < end:
            offset = at % self._size
            header = self._words[offset // _WORD]
            if header & _BUSY:
                break
            length = header & ~_DISCARD
            if not header & _DISCARD:
                if length % RECORD.size:
                    raise ValueError(
                        f"invalid ring buffer entry: {length} bytes (expected a multiple of "
                        f"{RECORD.size})"
                    )
                taken.append(self._data[offset + _HEADER : offset + _HEADER + length])
            at += (_HEADER + length + 7) & ~7
        records = b"".join(taken)
        self._consumed[0] = at  # after the copy: the kernel may now overwrite these entries
        return records
