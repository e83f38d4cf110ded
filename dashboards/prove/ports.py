# SPDX-License-Identifier: Apache-2.0
"""Free ports, for programs that can't report the port of port 0."""

import socket


def free_port() -> int:
    """Return a loopback port that is currently unused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
