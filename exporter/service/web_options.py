# SPDX-License-Identifier: Apache-2.0
"""Options of the web server, without the web server: the daemon imports that while probes load."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.web.addresses import Address
from exporter.web.limits import DEFAULT, Limits


@dataclass(frozen=True)
class WebOptions:
    """Options of the web server."""

    addresses: Sequence[Address]
    telemetry_path: str = "/metrics"
    from_systemd: bool = False
    """Use the sockets that systemd passes, instead of ``addresses``."""
    config_file: Path | None = None
    limits: Limits = DEFAULT
