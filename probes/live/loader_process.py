# SPDX-License-Identifier: Apache-2.0
"""The daemon's handle of the loader: a child process that handles one request.

The daemon starts the loader with its request, drops all its privileges, and then lets it go on; the
child keeps the privileges that it was started with. Meanwhile it reads what takes long, the symbols
and BTF of the kernel. It lives until it has attached the probes and taken a census, which can take
a while if the pools are busy.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys

from probes.backend import BackendError
from probes.baseline import Baseline
from probes.bpf.handover import (
    Handover,
    Request,
    receive_baseline,
    receive_handover,
    send_go,
    send_request,
)
from probes.observation import Absent

TIMEOUT_S = 300
"""Compiling takes seconds; on a busy emulated machine it took 100 s."""

_STDERR_MAX_BYTES = 1 << 20
_STDERR_TAIL = 300


class LoaderProcess:
    """A running loader."""

    def __init__(self, request: Request) -> None:
        """Start the process for ``request``. Raises ``OSError``."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stderr = os.memfd_create("loader-stderr")
        with theirs:
            self._process = subprocess.Popen(
                # -P: root must not import modules from the current folder.
                [sys.executable, "-P", "-m", "probes.live.loader", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
            )
        # A loader that dies early closes the socket; ``ask`` then says why it died.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            send_request(self._socket, request)

    def ask(self) -> Handover:
        """Let it handle the request and wait for the answer. Raises ``BackendError``.

        After an answer without a problem, ``baseline`` is to come.
        """
        self._socket.settimeout(TIMEOUT_S)
        handover = None
        try:
            # A loader that dies early closes the socket; its exit code is then more informative.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                send_go(self._socket)
                handover = receive_handover(self._socket)
        except TimeoutError:
            self._process.kill()
            raise BackendError(
                f"attaching took longer than {TIMEOUT_S} s: try again when the host is less busy"
            ) from None
        except BaseException:
            self._process.kill()
            self.close()
            raise
        if handover is None:
            code, stderr = self._process.wait(), self._stderr_summary()
            self.close()
            raise BackendError(_early_end(code, stderr))
        if handover.problem:
            self._process.wait()
            stderr = self._stderr_summary()
            handover.problem += f"; stderr: {stderr}" if stderr else ""
            self.close()
        return handover

    def baseline(self, seconds: float) -> Baseline | Absent | None:
        """Wait at most so long for the census; None: not yet. Afterwards the process is gone."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return None
        try:
            return receive_baseline(self._socket)
        except OSError as error:
            return Absent(f"the loader's census can't be received ({error.strerror or error})")
        finally:
            self.close()

    def close(self) -> None:
        """Close the socket, which ends a loader that waits. Safe to call twice."""
        self._socket.close()
        self._process.wait()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def _stderr_summary(self) -> str:
        """Return the first compiler error on stderr, or else the end of stderr."""
        text = os.pread(self._stderr, _STDERR_MAX_BYTES, 0).decode(errors="replace")
        first = next((line for line in text.splitlines() if "error:" in line), None)
        return " ".join((first or text).split())[-_STDERR_TAIL:]


def _early_end(code: int, stderr: str) -> str:
    if code == -signal.SIGKILL:
        return (
            "the loader was killed before it attached anything: if the kernel's log says out of "
            "memory, free memory or raise MemoryMax= of the unit"
        )
    return f"the loader exited with status {code} before it attached anything: {stderr}"
