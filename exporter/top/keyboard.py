# SPDX-License-Identifier: Apache-2.0
"""Keys as they are pressed, without waiting for Enter."""

import os
import select
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_ESCAPE = "\x1b"
_CONTROL_CHARACTERS = 6
"""Where termios.tcgetattr has them."""
_DISABLED = b"\0"


class Keyboard:
    """Waits for keys on a descriptor; on None, or once it is at its end, for time alone."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def wait(self, seconds: float) -> str:
        """Keys pressed within ``seconds``; empty when none was, or when one has no character."""
        ready, _, _ = select.select(
            [] if self._descriptor is None else [self._descriptor], [], [], max(0.0, seconds)
        )
        if not ready or self._descriptor is None:
            return ""
        keys = os.read(self._descriptor, 64).decode(errors="replace")
        if not keys:
            self._descriptor = None
        return "" if keys.startswith(_ESCAPE) else keys


@contextmanager
def keyboard(descriptor: int) -> Iterator[Keyboard]:
    """The keyboard behind ``descriptor``, and the terminal as it was afterwards.

    Ctrl-Z is off: whoever came back to the shell would find its terminal in our state.
    """
    if not os.isatty(descriptor):
        yield Keyboard(None)
        return
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    ours = termios.tcgetattr(descriptor)
    ours[_CONTROL_CHARACTERS][termios.VSUSP] = _DISABLED
    termios.tcsetattr(descriptor, termios.TCSADRAIN, ours)
    try:
        yield Keyboard(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
