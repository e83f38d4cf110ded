# SPDX-License-Identifier: Apache-2.0
"""``hvoscope check``."""

from pathlib import Path

import click

from exporter.cli import check_report as check
from exporter.cli.options import path_options
from probes import preflight
from probes.bpf.program_cache import DEFAULT_FOLDER
from probes.kernel.host import Host

EXIT_NOT_READY = 1


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@path_options
def check_command(*, as_json: bool, proc: Path, sys_: Path) -> None:
    """Say what will work on this machine, what will not, and how to mend it.

    Needs no root; what it can't read it calls unknown. It reads files, and asks the kernel to load
    a program of two instructions, which is never attached.

    \b
    Exit codes:
      0  ready: probes will attach and HVO can work, even if it is switched off now (a warning)
      1  not ready: something keeps probes from attaching or HVO from ever working (a problem)
      2  wrong usage

    \b
    Examples:
      hvoscope check
      hvoscope check --json
    """
    findings = preflight.examine(Host(proc=proc, sys=sys_), cache=DEFAULT_FOLDER)
    if as_json:
        click.echo(check.to_json(findings))
    else:
        click.echo(check.to_table(findings, check.terminal_width()))
    raise click.exceptions.Exit(0 if preflight.is_ready(findings) else EXIT_NOT_READY)
