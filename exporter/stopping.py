# SPDX-License-Identifier: Apache-2.0
"""End on Ctrl-C or SIGTERM without breaking off what is under way."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def set_by_signals() -> Iterator[threading.Event]:
    """Yield an event that the first signal sets; a second one ends the process as it would have."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        restore()
        stop.set()

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
