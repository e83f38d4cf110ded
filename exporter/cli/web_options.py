# SPDX-License-Identifier: Apache-2.0
"""Options of the web side, under the names that Prometheus' exporters have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import parsed
from exporter.service.daemon import WebOptions
from exporter.web.addresses import Address, parse_address
from exporter.web.limits import DEFAULT

DEFAULT_ADDRESS = "127.0.0.1:10917"


def _telemetry_path(text: str) -> str:
    if not text.startswith("/") or text == "/" or text.startswith("/-/"):
        raise ValueError(f"{text!r} must start with / and be neither / nor below /-/")
    return text


def web_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options; ``gathered`` makes one value of theirs."""
    for option in (
        click.option(
            "--web.max-requests",
            "max_requests",
            type=click.IntRange(min=1),
            default=DEFAULT.scrapes,
            show_default=True,
            help="Scrapes at once; more get 503.",
        ),
        click.option(
            "--web.config.file",
            "config_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="TLS, users, headers, rate limit: exporter-toolkit's YAML.",
        ),
        click.option(
            "--web.telemetry-path",
            "telemetry_path",
            callback=parsed(_telemetry_path),
            metavar="PATH",
            default="/metrics",
            show_default=True,
            help="Path of the metrics.",
        ),
        click.option(
            "--web.systemd-socket",
            "from_systemd",
            is_flag=True,
            help="Serve on the sockets of a .socket unit, and on no address.",
        ),
        click.option(
            "--web.listen-address",
            "addresses",
            callback=parsed(parse_address),
            metavar="HOST:PORT",
            multiple=True,
            default=[DEFAULT_ADDRESS],
            show_default=True,
            help="Where to serve: HOST:PORT, :PORT (every address) or unix:/PATH. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def gathered(
    *,
    addresses: tuple[Address, ...],
    telemetry_path: str,
    from_systemd: bool,
    config_file: Path | None,
    max_requests: int,
    **rest: Any,
) -> tuple[WebOptions, dict[str, Any]]:
    """Options of the web side, and what the command line gave besides."""
    limits = DEFAULT._replace(scrapes=max_requests)
    web = WebOptions(addresses, telemetry_path, from_systemd, config_file, limits)
    return web, rest
