# SPDX-License-Identifier: Apache-2.0
"""What the commands that read the event stream say on stderr, and when they stop."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from probes.backend import Backend
from probes.observation import PROBES
from probes.recording.replay import ReplayBackend


def about(backend: Backend) -> Iterator[str]:
    """Yield what to know about a started source before its first event."""
    if backend.info.about:
        yield backend.info.about
    if backend.info.mode == "simulated":
        yield "these events are SIMULATED"
    for probe in backend.observe((PROBES,)).status.probes:
        if not probe.attached:
            yield f"{probe.step} not attached: {probe.reason}"


def stop_and_report(backend: Backend) -> Sequence[str]:
    """Stop the source; return what is missing from its events."""
    lost = backend.observe((PROBES,)).status.lost
    backend.stop()
    return list(_missing(backend, lost))


def _missing(backend: Backend, lost: Mapping[str, int]) -> Iterator[str]:
    for where, events in lost.items():
        if events:
            yield f"{events} events lost ({where})"
    if isinstance(backend, ReplayBackend) and backend.missing:
        yield backend.missing


def until(blocks: Iterable[bytes], is_over: Callable[[], bool]) -> Iterator[bytes]:
    """Yield blocks of records, and one more after ``is_over``: it has what came before the end."""
    over = False
    for block in blocks:
        yield block
        if over:
            return
        over = is_over()


def end_condition(stop: threading.Event, seconds: float | None) -> Callable[[], bool]:
    """Return a function that tells whether to stop."""
    end = float("inf") if seconds is None else time.monotonic() + seconds
    return lambda: stop.is_set() or time.monotonic() >= end
