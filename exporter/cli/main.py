# SPDX-License-Identifier: Apache-2.0
"""The command line. A usage error is one line on stderr and exit code 2."""

import sys
from importlib import import_module

import click

from exporter.cli.stopping import discard_unwritable_stderr
from probes.backend import BackendError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

COMMANDS = (
    "census",
    "check",
    "compile",
    "metrics",
    "plan",
    "record",
    "serve",
    "simulate",
    "top",
    "trace",
)
"""Command names; each is also the name of its module in ``exporter.cli``."""


class _Commands(click.Group):
    """Command group that imports commands on use: the daemon never loads the screen's libraries."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"exporter.cli.{name}"), f"{name}_command")
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="hvoscope", prog_name="hvoscope")
def cli() -> None:
    """Observe HugeTLB vmemmap optimization (HVO): struct page memory that the kernel frees."""


def main() -> None:
    """Run the ``hvoscope`` command."""
    try:
        sys.exit(cli.main(prog_name="hvoscope", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"hvoscope: error: {error.format_message()}", err=True)
        sys.exit(EXIT_USAGE)
    except BackendError as error:
        click.echo(f"hvoscope: error: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    finally:
        discard_unwritable_stderr()
