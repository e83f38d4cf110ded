# SPDX-License-Identifier: Apache-2.0
"""How much of anything clients may take, in bytes, seconds and numbers."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Defaults are what Prometheus, a person with curl and a health check never reach."""

    scrapes: int = 40
    """Scrapes at once, those in line included (node_exporter's default)."""
    threads: int = 4
    """Scrapes that collect at the same time. Python runs one at a time; the rest wait for files."""
    connections: int = 512
    """Beyond them, whoever has kept the exporter waiting longest is cut off for the newcomer."""
    header_bytes: int = 16 * 1024
    handshake_seconds: float = 10.0
    header_seconds: float = 10.0
    """For a whole request, from connecting or from its first byte."""
    idle_seconds: float = 300.0
    """Between two requests on one connection; longer than any sensible scrape interval."""
    page_seconds: float = 30.0
    """For a page to be made."""
    write_seconds: float = 30.0
    """For the client to take the response."""


DEFAULT = Limits()
