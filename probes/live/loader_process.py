# SPDX-License-Identifier: Apache-2.0
"""The loader as the daemon sees it: a child that waits for one request and answers it.

It is started first and asked later, so that the daemon can give up every privilege in between: the
child keeps those that it was started with.
"""

import contextlib
import os
import socket
import subprocess
import sys

from probes.backend import BackendError
from probes.bpf.handover import Handover, Request, receive_handover, send_request

TIMEOUT_S = 300
"""Compiling takes seconds; a busy emulated machine has needed a hundred."""

_STDERR_MOST = 1 << 20
_STDERR_TAIL = 300


class LoaderProcess:
    """One loader."""

    def __init__(self) -> None:
        """Start it; ``OSError`` when that can't be done."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stderr = os.memfd_create("loader-stderr")
        with theirs:
            self._process = subprocess.Popen(
                # -P: the folder it is started in must have no say in what root imports.
                [sys.executable, "-P", "-m", "probes.live.loader", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
            )

    def ask(self, request: Request) -> Handover:
        """Have ``request`` answered, and see the child off. Raises ``BackendError``."""
        self._socket.settimeout(TIMEOUT_S)
        handover = None
        try:
            # A loader that dies early shuts the socket; its exit code then says more.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                send_request(self._socket, request)
                handover = receive_handover(self._socket)
        except TimeoutError:
            self._process.kill()
            raise BackendError(
                f"attaching took longer than {TIMEOUT_S} s: try again when the host is quiet"
            ) from None
        except BaseException:
            self._process.kill()
            raise
        finally:
            code = self._process.wait()
            said = self._what_it_said()
            self.close()
        if handover is None:
            raise BackendError(f"the loader died (exit {code}) before it attached anything: {said}")
        if handover.problem and said:
            handover.problem += f"; it said: {said}"
        return handover

    def close(self) -> None:
        """Let go of it; one that was never asked then ends. Safe to call twice."""
        self._socket.close()
        self._process.wait()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def _what_it_said(self) -> str:
        """The first error of a compiler's many lines, or else the end of what was said."""
        text = os.pread(self._stderr, _STDERR_MOST, 0).decode(errors="replace")
        first = next((line for line in text.splitlines() if "error:" in line), None)
        return " ".join((first or text).split())[-_STDERR_TAIL:]
