# SPDX-License-Identifier: Apache-2.0
"""Free ports, for programs that can't say which one they were given."""

import socket


def free_port() -> int:
    """A port of the loopback that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
