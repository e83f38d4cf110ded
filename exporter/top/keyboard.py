# SPDX-License-Identifier: Apache-2.0
"""Read keys without waiting for Enter."""

import os
import select
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_ESCAPE = "\x1b"
_CONTROL_CHARACTERS = 6
"""Index of the control characters in the result of termios.tcgetattr."""
_DISABLED = b"\0"


class Keyboard:
    """Waits for keys on a descriptor; with None, or after end of file, only for the timeout."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def wait(self, seconds: float) -> str:
        """Return keys pressed within ``seconds``; empty for none, or for an escape sequence."""
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
    """Yield the keyboard on ``descriptor``; restore the terminal's settings afterwards.

    Ctrl-Z is disabled: the shell would get the terminal with our settings.
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
