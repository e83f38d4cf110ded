# SPDX-License-Identifier: Apache-2.0
"""A bounded queue of event records between the simulation and one consumer."""

from collections import deque
from collections.abc import Iterator
from threading import Condition

from probes.events import RECORD


class RecordQueue:
    """Blocks of whole records. What does not fit is dropped and counted, as a ring buffer does."""

    def __init__(self, limit: int) -> None:
        """``limit`` is in records."""
        self._limit = limit
        self._queued = 0
        self._lost = 0
        self._blocks: deque[bytes] = deque()
        self._closed = False
        self._changed = Condition()

    @property
    def lost(self) -> int:
        """Records that were dropped."""
        return self._lost

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def put(self, records: bytes | bytearray) -> None:
        """Queue back-to-back records; never waits for the consumer."""
        with self._changed:
            count = len(records) // RECORD.size
            fits = min(count, self._limit - self._queued)
            self._lost += count - fits
            if fits:
                self._queued += fits
                self._blocks.append(bytes(records[: fits * RECORD.size]))
                self._changed.notify()

    def close(self) -> None:
        """Let the consumer end once it has read what is queued."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def blocks(self, idle_seconds: float) -> Iterator[bytes]:
        """Yield blocks as they come, an empty one after each ``idle_seconds`` without any."""
        while (block := self._next(idle_seconds)) is not None:
            yield block

    def _next(self, idle_seconds: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._closed, idle_seconds)
            if self._blocks:
                block = self._blocks.popleft()
                self._queued -= len(block) // RECORD.size
                return block
            return None if self._closed else b""
