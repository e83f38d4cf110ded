# SPDX-License-Identifier: Apache-2.0
"""Threads for what blocks: a few at a time, a bounded line before them, none that holds up exit.

An executor of the standard library joins its threads when the process ends, so that one read of
/proc that hangs would keep the exporter from ending; these threads are left behind.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """There are as many jobs as there may be."""


class Workers:
    """Runs jobs in threads. Use it from one event loop."""

    def __init__(self, threads: int, jobs: int) -> None:
        """At most ``threads`` jobs run at once, and at most ``jobs`` are there, line included."""
        self._threads = asyncio.Semaphore(threads)
        self._jobs = jobs
        self._taken = 0

    async def run(self, job: Callable[[], T]) -> T:
        """Run it in a thread and hand on what it returns or raises. Raises ``BusyError``.

        Whoever stops waiting leaves the thread to finish: only then is there room for another.
        """
        if self._taken >= self._jobs:
            raise BusyError
        self._taken += 1
        try:
            await self._threads.acquire()
        except asyncio.CancelledError:
            self._taken -= 1
            raise
        loop = asyncio.get_running_loop()
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()

        def in_thread() -> None:
            try:
                try:
                    result = job()
                finally:
                    with contextlib.suppress(RuntimeError):  # the loop has ended: no one is in line
                        loop.call_soon_threadsafe(self._finished)
                outcome.set_result(result)
            except BaseException as error:  # whatever it is, it is the caller's
                outcome.set_exception(error)

        threading.Thread(target=in_thread, daemon=True).start()
        return await asyncio.wrap_future(outcome)

    def _finished(self) -> None:
        self._taken -= 1
        self._threads.release()
