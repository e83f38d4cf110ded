# SPDX-License-Identifier: Apache-2.0
"""Options of the web server, under the names that Prometheus exporters share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import parsed
from exporter.service.web_options import WebOptions
from exporter.web.addresses import Address, parse_address
from exporter.web.limits import DEFAULT

DEFAULT_ADDRESS = "127.0.0.1:10917"


def _telemetry_path(text: str) -> str:
    if not text.startswith("/") or text == "/" or text.startswith("/-/"):
        raise ValueError(f"invalid path {text!r} (expected /PATH, neither / nor below /-/)")
    return text


def web_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; ``split_web_options`` collects their values."""
    for option in (
        click.option(
            "--web.max-requests",
            "max_requests",
            type=click.IntRange(min=1),
            default=DEFAULT.scrapes,
            show_default=True,
            help="Maximum number of concurrent scrapes; further ones get 503.",
        ),
        click.option(
            "--web.config.file",
            "config_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Web configuration in exporter-toolkit's YAML: TLS, users, headers, rate limit.",
        ),
        click.option(
            "--web.telemetry-path",
            "telemetry_path",
            callback=parsed(_telemetry_path),
            metavar="PATH",
            default="/metrics",
            show_default=True,
            help="Path under which to expose metrics.",
        ),
        click.option(
            "--web.systemd-socket",
            "from_systemd",
            is_flag=True,
            help="Use systemd socket activation instead of listen addresses.",
        ),
        click.option(
            "--web.listen-address",
            "addresses",
            callback=parsed(parse_address),
            metavar="HOST:PORT",
            multiple=True,
            default=[DEFAULT_ADDRESS],
            show_default=True,
            help="Listen address: HOST:PORT, :PORT (all addresses) or unix:/PATH. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def split_web_options(
    *,
    addresses: tuple[Address, ...],
    telemetry_path: str,
    from_systemd: bool,
    config_file: Path | None,
    max_requests: int,
    **rest: Any,
) -> tuple[WebOptions, dict[str, Any]]:
    """Return the web server's options, and the remaining ones."""
    limits = DEFAULT._replace(scrapes=max_requests)
    web = WebOptions(addresses, telemetry_path, from_systemd, config_file, limits)
    return web, rest
