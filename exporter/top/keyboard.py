# SPDX-License-Identifier: Apache-2.0
"""Read keys without waiting for Enter."""

import os
import select
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

SUSPEND = "\x1a"
"""Ctrl-Z, which arrives as a key: the terminal must be restored before the process stops."""

_ESCAPE = "\x1b"
_CONTROL_CHARACTERS = 6
"""Index of the control characters in the result of termios.tcgetattr."""
_DISABLED = b"\0"


class Keyboard:
    """Waits for keys on a descriptor; with None, or after end of file, only for the timeout."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def suspend(self) -> None:
        """Stop until SIGCONT, as Ctrl-Z does by default; ignored without a terminal."""

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


class _TerminalKeyboard(Keyboard):
    """The keyboard of a terminal, which delivers each key at once."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._terminal = descriptor
        self._before = termios.tcgetattr(descriptor)
        self._take()

    def suspend(self) -> None:
        self.restore()
        # All of the group, as the terminal would: a shell waits for a whole pipeline or script.
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        self._take()

    def restore(self) -> None:
        """Restore the settings that the terminal had before."""
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def _take(self) -> None:
        tty.setcbreak(self._terminal)
        ours = termios.tcgetattr(self._terminal)
        ours[_CONTROL_CHARACTERS][termios.VSUSP] = _DISABLED
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, ours)


@contextmanager
def keyboard(descriptor: int) -> Iterator[Keyboard]:
    """Yield the keyboard on ``descriptor``; restore the terminal's settings afterwards."""
    if not os.isatty(descriptor):
        yield Keyboard(None)
        return
    keys = _TerminalKeyboard(descriptor)
    try:
        yield keys
    finally:
        keys.restore()
