# SPDX-License-Identifier: Apache-2.0
"""End on Ctrl-C, SIGTERM or a lost output without breaking off what is under way."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

import click

EXIT_OUTPUT_FAILED = 1

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


@contextmanager
def lost_output_ends() -> Iterator[None]:
    """End what is printed within, cleanly, when the output takes no more of it.

    A reader that has gone, as with `| head`, is no news; anything else is one line and exit code 1.
    """
    try:
        yield
    except BrokenPipeError:
        _keep_off(sys.stdout)
    except OSError as error:
        _keep_off(sys.stdout)
        click.echo(f"hvoscope: error: the output can't be written: {error.strerror}", err=True)
        raise click.exceptions.Exit(EXIT_OUTPUT_FAILED) from error


def give_up_lost_stderr() -> None:
    """Drop what stderr did not take, or Python fails at it again and exits with 120."""
    try:
        sys.stderr.flush()
    except OSError:
        _keep_off(sys.stderr)


def _keep_off(stream: TextIO) -> None:
    """Keep Python from flushing into an output that takes nothing any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
