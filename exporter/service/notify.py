# SPDX-License-Identifier: Apache-2.0
"""Notifications to systemd: sd_notify(3), a datagram of NAME=VALUE lines.

The protocol is stable and meant to be used without a library. The Python libraries are unmaintained
or need systemd's headers to build.
"""

import contextlib
import socket
import time
from collections.abc import Callable, MutableMapping


class Notifier:
    """Notifies the service manager, if there is one."""

    def __init__(
        self,
        environ: MutableMapping[str, str],
        pid: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Remove the manager's variables from ``environ``: children must not inherit them."""
        path = environ.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._clock_ns = clock_ns
        period = environ.pop("WATCHDOG_USEC", "")
        mine = environ.pop("WATCHDOG_PID", str(pid)) == str(pid)
        self.watchdog_seconds = int(period) / 1e6 if mine and period.isdecimal() else None
        """The manager kills a daemon that is silent for longer; None: no watchdog."""

    def ready(self, status: str) -> None:
        """Report that the daemon has started or reloaded."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report that a reload has begun; ``ready`` must follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._clock_ns() // 1000}")

    def stopping(self) -> None:
        """Report the shutdown."""
        self._send("STOPPING=1", "STATUS=stopping")

    def alive(self, status: str) -> None:
        """Feed the watchdog, with one line for ``systemctl status``."""
        self._send("WATCHDOG=1", f"STATUS={status}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # The daemon works without a manager that listens.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to_manager,
        ):
            to_manager.settimeout(1)
            to_manager.sendto(
                "\n".join(line.replace("\n", " ") for line in lines).encode(), self._address
            )
