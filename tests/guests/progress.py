# SPDX-License-Identifier: Apache-2.0
"""Says what takes time, and what was wanted but is not to be had."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_EVERY_S = 15.0
_TAIL_LINES = 25


class UnavailableError(RuntimeError):
    """This machine lacks something (a program, a mirror, root) that the user can provide."""


class CommandError(RuntimeError):
    """A program that the harness ran failed."""


def say(text: str) -> None:
    """Print one line of progress."""
    sys.stderr.write(f"[kernel] {text}\n")
    sys.stderr.flush()


def run(what: str, command: Sequence[str], *, cwd: Path | None = None) -> str:
    """The output of a command that must succeed; `what` names it when it does not."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UnavailableError(f"{what}: this machine has no {command[0]}") from error
    if done.returncode:
        raise CommandError(
            f"{what} failed ({done.returncode}):\n{_tail(done.stdout + done.stderr)}"
        )
    return done.stdout


def run_long(
    what: str, command: Sequence[str], *, cwd: Path, log: Path, state: Callable[[], str]
) -> None:
    """Runs a command for minutes, saying now and then how long it has been and how far it is."""
    begin = time.monotonic()
    with log.open("ab") as sink:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
        try:
            while not _ended(process):
                say(f"{what}: {time.monotonic() - begin:.0f} s, {state()}")
        finally:
            process.terminate()  # make takes its own children with it
            process.wait()
    if process.returncode:
        raise CommandError(f"{what} failed ({process.returncode}):\n{_tail(log.read_text())}")
    say(f"{what}: done after {time.monotonic() - begin:.0f} s")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_EVERY_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
