# SPDX-License-Identifier: Apache-2.0
"""Threads for blocking jobs: limited concurrency, a bounded queue, no join at exit.

The standard library's executors join their threads when the process exits: one hanging read of
/proc would prevent the exporter from exiting. These are daemon threads.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """The limit of jobs is reached."""


class Workers:
    """Runs jobs in threads. Use it from one event loop."""

    def __init__(self, threads: int, jobs: int) -> None:
        """At most ``threads`` jobs run at once; at most ``jobs`` run or wait."""
        self._threads = asyncio.Semaphore(threads)
        self._max_jobs = jobs
        self._jobs = 0

    async def run(self, job: Callable[[], T]) -> T:
        """Run ``job`` in a thread and return its result or raise its error. Raises ``BusyError``.

        A cancelled caller leaves the thread running; the job counts until it has finished.
        """
        if self._jobs >= self._max_jobs:
            raise BusyError
        self._jobs += 1
        try:
            await self._threads.acquire()
        except asyncio.CancelledError:
            self._jobs -= 1
            raise
        loop = asyncio.get_running_loop()
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()

        def in_thread() -> None:
            try:
                try:
                    result = job()
                finally:
                    with contextlib.suppress(RuntimeError):  # the loop has ended: no jobs wait
                        loop.call_soon_threadsafe(self._finished)
                outcome.set_result(result)
            except BaseException as error:  # re-raised in the caller
                outcome.set_exception(error)

        threading.Thread(target=in_thread, daemon=True).start()
        return await asyncio.wrap_future(outcome)

    def _finished(self) -> None:
        self._jobs -= 1
        self._threads.release()
