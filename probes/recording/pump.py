# SPDX-License-Identifier: Apache-2.0
"""Reads a backend's stream in a separate thread, so that a slow consumer does not stall it."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from probes.backend import Backend

_MAX_BYTES = 256 << 20
"""Buffer size; when it is full, the backend drops and counts records that it can't buffer."""
_ENOUGH_BYTES = 1 << 20


class Pump:
    """Buffers blocks of records from a started backend."""

    def __init__(self, backend: Backend, *, max_bytes: int = _MAX_BYTES) -> None:
        """Start the thread. It ends at the end of the stream, at the backend's stop or ``close``.

        The backend is not read while ``max_bytes`` or more are buffered.
        """
        self._backend = backend
        self._max_bytes = max_bytes
        self._closed = False
        self._blocks: deque[bytes] = deque()
        self._bytes = 0
        self._quiet = False
        self._finished = False
        self._changed = Condition()
        self._executor = ThreadPoolExecutor(1, "hvoscope-pump")
        self._future = self._executor.submit(self._run)
        self._executor.shutdown(wait=False)

    def take(self, seconds: float) -> bytes:
        """Return buffered records; wait at most ``seconds`` for the first.

        Returns only a few blocks, so that they fit into a CPU's cache. Raises what the backend's
        ``records`` raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._finished, seconds)
            taken: list[bytes] = []
            while self._blocks and sum(map(len, taken)) < _ENOUGH_BYTES:
                taken.append(self._blocks.popleft())
            records = b"".join(taken)
            self._bytes -= len(records)
            self._changed.notify()
        if not records and self._finished:
            self._future.result()
        return records

    def close(self) -> None:
        """Stop reading the backend; no more records will be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def ended(self) -> bool:
        """Whether the stream has ended and all its records were taken."""
        return self._finished and not self._blocks

    def quiet(self) -> bool:
        """Whether the stream was empty at some moment since the last call."""
        with self._changed:
            quiet, self._quiet = self._quiet, False
        return quiet

    def _run(self) -> None:
        try:
            for block in self._backend.records():
                with self._changed:
                    if not self._put(block):
                        return
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify()

    def _put(self, block: bytes) -> bool:
        """Buffer the block, waiting for room; return False after ``close``."""
        if not block:
            self._quiet = True
            return True
        self._changed.wait_for(lambda: self._bytes < self._max_bytes or self._closed)
        if self._closed:
            return False
        self._blocks.append(block)
        self._bytes += len(block)
        self._changed.notify()
        return True
