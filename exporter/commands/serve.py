# SPDX-License-Identifier: Apache-2.0
"""``hvoscope serve``."""

import logging
from pathlib import Path
from typing import Any

import click

from exporter import daemon
from exporter.collector import DEFAULT_MAX_SERIES
from exporter.commands.options import parsed, path_options, source_options
from exporter.sources import Choice, make_source
from exporter.web import Address, parse_address
from probes import preflight
from probes.host import Host

DEFAULT_ADDRESS = "127.0.0.1:10917"


def _telemetry_path(text: str) -> str:
    if not text.startswith("/") or text == "/" or text.startswith("/-/"):
        raise ValueError(f"{text!r} must start with / and be neither / nor below /-/")
    return text


@click.command("serve")
@source_options
@click.option(
    "--web.listen-address",
    "address",
    callback=parsed(parse_address),
    metavar="HOST:PORT",
    default=DEFAULT_ADDRESS,
    show_default=True,
    help="Where to serve; :PORT means every address.",
)
@click.option(
    "--web.telemetry-path",
    "telemetry_path",
    callback=parsed(_telemetry_path),
    metavar="PATH",
    default="/metrics",
    show_default=True,
    help="Path of the metrics.",
)
@click.option(
    "--metrics.max-series",
    "max_series",
    type=click.IntRange(min=1),
    default=DEFAULT_MAX_SERIES,
    show_default=True,
    help="Most series of one scrape; metrics that do not fit are left out and counted.",
)
@path_options
def serve_command(
    *,
    address: Address,
    telemetry_path: str,
    max_series: int,
    proc: Path,
    sys_: Path,
    **choice: Any,
) -> None:
    """Serve metrics to Prometheus.

    Where probes can't be attached it says why, serves the kernel's own state, and is not ready; it
    never shows simulated numbers unless asked to.

    \b
    Examples:
      hvoscope serve
      hvoscope serve --backend sim --web.listen-address 127.0.0.1:9999
    """
    _log_to_stderr()
    host = Host(proc=proc, sys=sys_)
    source = make_source(Choice(**choice), host)
    if choice["backend"] == "bcc" and (off := preflight.switched_off(host)):
        daemon.log.warning("%s", off)
    try:
        daemon.serve(source.backend, source.state, address, telemetry_path, max_series=max_series)
    except daemon.AddressError as error:
        raise click.ClickException(
            f"{error}: choose another with --web.listen-address HOST:PORT"
        ) from error


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
