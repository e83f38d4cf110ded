# SPDX-License-Identifier: Apache-2.0
"""Stop cleanly on Ctrl-C, SIGTERM or an output error: finish what is in progress."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

import click

EXIT_OUTPUT_FAILED = 1

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SIGNALS_AND_HANGUP = (*SIGNALS, signal.SIGHUP)


@contextmanager
def stop_on_signals(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[threading.Event]:
    """Yield an event that the first signal sets; a second signal has its previous handler."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        restore()
        stop.set()

    for number in signals:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def exit_on_output_error() -> Iterator[None]:
    """End the block when standard output can't be written.

    A closed pipe, as with ``| head``, ends it silently; any other error is one line on stderr and
    exit code 1.
    """
    try:
        yield
    except BrokenPipeError:
        _redirect_to_devnull(sys.stdout)
    except OSError as error:
        _redirect_to_devnull(sys.stdout)
        click.echo(f"hvoscope: error: can't write to standard output: {error.strerror}", err=True)
        raise click.exceptions.Exit(EXIT_OUTPUT_FAILED) from error


def discard_unwritable_stderr() -> None:
    """Discard unwritten stderr output: Python would fail to flush it at exit, with code 120."""
    try:
        sys.stderr.flush()
    except OSError:
        _redirect_to_devnull(sys.stderr)


def _redirect_to_devnull(stream: TextIO) -> None:
    """Point the descriptor at /dev/null, so that the flush at exit succeeds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
