# SPDX-License-Identifier: Apache-2.0
"""Resource limits of clients, in bytes, seconds and numbers."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Limits; Prometheus, curl and health checks never reach the defaults."""

    scrapes: int = 40
    """Concurrent scrapes, waiting ones included (node_exporter's default)."""
    threads: int = 4
    """Scrapes that collect at once; Python runs one thread at a time, others wait for files."""
    connections: int = 512
    """Connections; the longest-stalled is closed to admit a new one."""
    header_bytes: int = 16 * 1024
    handshake_seconds: float = 10.0
    header_seconds: float = 10.0
    """Time to receive a request, from connecting or from its first byte."""
    idle_seconds: float = 300.0
    """Time between two requests on a connection; longer than any usual scrape interval."""
    page_seconds: float = 30.0
    """Time to make a page."""
    write_seconds: float = 30.0
    """Time to send a response."""


DEFAULT = Limits()
