# SPDX-License-Identifier: Apache-2.0
"""Empty a backend's stream in a thread of its own, so that whoever takes from it may be slow."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from probes.backend import Backend

_MOST_BYTES = 256 << 20
"""Then the backend has to wait, and loses and counts what it can't keep."""
_ENOUGH_BYTES = 1 << 20


class Pump:
    """Takes blocks of records from a started backend as they come."""

    def __init__(self, backend: Backend, *, most_bytes: int = _MOST_BYTES) -> None:
        """Begin at once. It ends when the backend is stopped or has no more, or at ``close``.

        When so many bytes wait to be taken, the backend is not read for a while.
        """
        self._backend = backend
        self._most_bytes = most_bytes
        self._closed = False
        self._blocks: deque[bytes] = deque()
        self._bytes = 0
        self._quiet = False
        self._over = False
        self._changed = Condition()
        self._executor = ThreadPoolExecutor(1, "hvoscope-pump")
        self._future = self._executor.submit(self._run)
        self._executor.shutdown(wait=False)

    def take(self, seconds: float) -> bytes:
        """Some of the records that came, after at most ``seconds`` of waiting for the first.

        A few blocks at most, to be copied within a CPU's cache. Raises what the backend's
        ``records`` raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._over, seconds)
            taken: list[bytes] = []
            while self._blocks and sum(map(len, taken)) < _ENOUGH_BYTES:
                taken.append(self._blocks.popleft())
            records = b"".join(taken)
            self._bytes -= len(records)
            self._changed.notify()
        if not records and self._over:
            self._future.result()
        return records

    def close(self) -> None:
        """Nobody will take any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def ended(self) -> bool:
        """The backend has no more, and all of it was taken."""
        return self._over and not self._blocks

    def quiet(self) -> bool:
        """Whether the stream was empty at some moment since this was last asked."""
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
                self._over = True
                self._changed.notify()

    def _put(self, block: bytes) -> bool:
        """Keep the block until it is taken; False once nobody will."""
        if not block:
            self._quiet = True
            return True
        self._changed.wait_for(lambda: self._bytes < self._most_bytes or self._closed)
        if self._closed:
            return False
        self._blocks.append(block)
        self._bytes += len(block)
        self._changed.notify()
        return True
