# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: empties a backend's event stream, and tells when it is empty."""

import threading
from collections.abc import Callable

from probes.live.backend import LiveBackend

_EMPTY_WITHIN_S = 60


class Drain(threading.Thread):
    """Passes on every block of records until the backend is stopped."""

    def __init__(self, backend: LiveBackend, put: Callable[[bytes], object]) -> None:
        """Nothing is read before ``start``."""
        super().__init__()
        self._backend = backend
        self._put = put
        self._empty = threading.Event()

    def run(self) -> None:
        """Read until there is nothing to read from."""
        for block in self._backend.records():
            self._put(block)
            if not block:
                self._empty.set()

    def await_empty(self) -> None:
        """Return when all records of what was done before have been passed on.

        Raises ``TimeoutError``.
        """
        for _ in range(2):  # the first may have been found before
            self._empty.clear()
            if not self._empty.wait(_EMPTY_WITHIN_S):
                raise TimeoutError
