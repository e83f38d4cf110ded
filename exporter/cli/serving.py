# SPDX-License-Identifier: Apache-2.0
"""What ``hvoscope serve`` does while its loader starts: all that needs the web server."""

import time

import click

from exporter.service import daemon
from exporter.service.privileges import PrivilegeError
from exporter.service.web_options import WebOptions
from exporter.web.reload import WebConfigFile
from exporter.web.sockets import ListenError
from exporter.web.yaml_file import ConfigError
from probes import preflight
from probes.backend import Backend
from probes.kernel.host import Host


def check(web: WebOptions) -> None:
    """Check the web configuration. Raises ``click.ClickException``."""
    try:
        WebConfigFile(web.config_file, time.monotonic)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    click.echo("hvoscope: configuration is valid")


def serve(backend: Backend, web: WebOptions, user: str, real: Host | None) -> None:
    """Serve until a signal; ``real`` is the machine, if it is not simulated or recorded.

    Raises ``click.ClickException``.
    """
    if backend.info.about:
        daemon.log.info("%s", backend.info.about)
    if real and (off := preflight.switched_off(real)):
        daemon.log.warning("%s", off)
    try:
        daemon.serve(backend, web, user)
    except ListenError as error:
        raise click.ClickException(f"{error}: choose another with --web.listen-address") from error
    except (ConfigError, PrivilegeError, daemon.WebDiedError) as error:
        raise click.ClickException(str(error)) from error
