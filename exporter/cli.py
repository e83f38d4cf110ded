# SPDX-License-Identifier: Apache-2.0
"""The command line. Anything a user got wrong is one line on stderr and exit code 2."""

import sys

import click

from exporter.commands.check import check_command
from exporter.commands.plan import plan_command
from exporter.commands.record import record_command
from exporter.commands.serve import serve_command
from exporter.commands.simulate import simulate_command
from exporter.commands.top import top_command
from exporter.commands.trace import trace_command
from probes.backend import BackendError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell counts


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hvoscope", prog_name="hvoscope")
def cli() -> None:
    """See the kernel give back struct page memory: HugeTLB vmemmap optimisation (HVO)."""


for command in (
    check_command,
    plan_command,
    record_command,
    serve_command,
    simulate_command,
    top_command,
    trace_command,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of the ``hvoscope`` command."""
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
