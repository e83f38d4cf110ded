# SPDX-License-Identifier: Apache-2.0
"""``hvoscope check``."""

from pathlib import Path

import click

from exporter.cli import check_report as check
from exporter.cli.options import path_options
from probes import preflight
from probes.bpf.program_cache import DEFAULT_FOLDER, SHIPPED_FOLDER
from probes.kernel.host import Host

EXIT_NOT_READY = 1


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@path_options
def check_command(*, as_json: bool, proc: Path, sys_: Path) -> None:
    """Report what works on this machine, what does not, and how to fix it.

    Needs no root; what it can't read is reported as unknown. It reads files and loads a BPF program
    of two instructions, which is never attached.

    \b
    Exit codes:
      0  ready: probes can attach and HVO can work, even if it is switched off now (a warning)
      1  not ready: a problem prevents probes from attaching or HVO from working
      2  wrong usage

    \b
    Examples:
      hvoscope check
      hvoscope check --json
    """
    findings = preflight.examine(
        Host(proc=proc, sys=sys_), cache=DEFAULT_FOLDER, programs=SHIPPED_FOLDER
    )
    if as_json:
        click.echo(check.to_json(findings))
    else:
        click.echo(check.to_table(findings, check.terminal_width()))
    raise click.exceptions.Exit(0 if preflight.is_ready(findings) else EXIT_NOT_READY)
