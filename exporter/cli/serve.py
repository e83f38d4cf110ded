# SPDX-License-Identifier: Apache-2.0
"""``hvoscope serve``."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import path_options, source_options
from exporter.cli.sources import SourceOptions, make_backend
from exporter.cli.web_options import split_web_options, web_options
from probes.kernel.host import Host


@click.command("serve")
@source_options
@web_options
@path_options
@click.option(
    "--config.check",
    "check_only",
    is_flag=True,
    help="Check options and web configuration, including certificates, and exit.",
)
@click.option(
    "--census.file",
    "later_census",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/run/hvoscope/census.json"),
    show_default=True,
    help="A later census (hvoscope census --output) to take up at SIGHUP.",
)
@click.option(
    "--run-as",
    "user",
    metavar="USER",
    default="",
    help="Serve as this user; probes are attached as the starting user.",
)
def serve_command(*, proc: Path, sys_: Path, check_only: bool, user: str, **options: Any) -> None:
    """Serve metrics to Prometheus.

    If probes can't be attached, it logs the reason, serves the kernel's own state, and /-/ready
    fails; it never falls back to simulated numbers. It drops all privileges before it serves; a
    child process keeps them to attach the probes, and exits.

    \b
    Signals:
      SIGHUP   reload --web.config.file (changes to the file are detected without it, too), and hold
               a census that was taken since the last SIGHUP against the count
      SIGTERM  stop: finish responses in progress, detach the probes

    \b
    Examples:
      hvoscope serve
      hvoscope serve --backend state
      hvoscope serve --backend sim --web.listen-address 127.0.0.1:9999
      hvoscope serve --backend sim --sim.scenario vm-host-day --sim.time-scale 60
      hvoscope serve --web.config.file web.yml --config.check
      hvoscope serve --backend replay --replay.file boot.hvot --replay.speed x10
    """
    web, source = split_web_options(**options)
    _log_to_stderr()
    host = Host(proc=proc, sys=sys_)
    backend = make_backend(SourceOptions(**source), host)
    if not check_only:
        backend.prepare()  # what it starts works while the web server is imported
    serving = import_module("exporter.cli.serving")
    try:
        if check_only:
            serving.check(web)
            return
        real = source["backend"] in ("bcc", "state")
        serving.serve(backend, web, user, host if real else None)
    finally:
        backend.stop()


def _log_to_stderr() -> None:
    # A full or closed stderr must not stop the exporter.
    logging.raiseExceptions = False
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
