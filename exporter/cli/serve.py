# SPDX-License-Identifier: Apache-2.0
"""``hvoscope serve``."""

import logging
import time
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import path_options, source_options
from exporter.cli.sources import Choice, make_backend
from exporter.cli.web_options import gathered, web_options
from exporter.service import daemon
from exporter.service.privileges import PrivilegeError
from exporter.web.reload import WebConfigFile
from exporter.web.sockets import ListenError
from exporter.web.yaml_file import ConfigError
from probes import preflight
from probes.kernel.host import Host


@click.command("serve")
@source_options
@web_options
@path_options
@click.option(
    "--config.check",
    "check_only",
    is_flag=True,
    help="Check options and web configuration, certificates included; serve nothing.",
)
@click.option(
    "--run-as",
    "user",
    metavar="USER",
    default="",
    help="Serve as this user; the probes are attached as the user who starts it.",
)
def serve_command(*, proc: Path, sys_: Path, check_only: bool, user: str, **options: Any) -> None:
    """Serve metrics to Prometheus.

    Where probes can't be attached it says why, serves the kernel's own state, and is not ready; it
    never shows simulated numbers unless asked to. It gives up every privilege before it serves;
    only a child that attaches the probes and then exits keeps them.

    \b
    Signals:
      SIGHUP   read --web.config.file again (a change is seen without it, too)
      SIGTERM  end: responses under way still go out, probes are removed

    \b
    Examples:
      hvoscope serve
      hvoscope serve --backend sim --web.listen-address 127.0.0.1:9999
      hvoscope serve --backend sim --sim.scenario vm-host-day --sim.time-scale 60
      hvoscope serve --web.config.file web.yml --config.check
      hvoscope serve --backend replay --replay.file boot.hvot --replay.speed x10
    """
    web, choice = gathered(**options)
    _log_to_stderr()
    host = Host(proc=proc, sys=sys_)
    try:
        backend = make_backend(Choice(**choice), host)
        if check_only:
            WebConfigFile(web.config_file, time.monotonic)
            click.echo("hvoscope: the configuration is good")
            return
        if backend.info.about:
            daemon.log.info("%s", backend.info.about)
        if choice["backend"] == "bcc" and (off := preflight.switched_off(host)):
            daemon.log.warning("%s", off)
        daemon.serve(backend, web, user)
    except ListenError as error:
        raise click.ClickException(f"{error}: choose another with --web.listen-address") from error
    except (ConfigError, PrivilegeError, daemon.WebDiedError) as error:
        raise click.ClickException(str(error)) from error


def _log_to_stderr() -> None:
    # Where stderr is full or closed, there is no one to tell: go on without.
    logging.raiseExceptions = False
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
