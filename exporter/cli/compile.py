# SPDX-License-Identifier: Apache-2.0
"""``hvoscope compile``."""

import platform
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import click

from exporter.cli.options import path_options
from exporter.cli.replace_file import replace_file
from probes import preflight
from probes.backend import MODES
from probes.bpf.bcc_import import BccMissingError, bcc_version, import_bcc
from probes.bpf.compiler import CompileError, compile_text
from probes.bpf.compose import ComposeError, compose
from probes.bpf.handover import FENTRY, KPROBE
from probes.bpf.program_cache import SHIPPED_FOLDER, key_of, shipped_path
from probes.kernel.host import Host
from probes.kernel.kallsyms import has_trampolines
from probes.preflight.facts import Facts


@click.command("compile")
@click.argument(
    "folder", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False), required=True
)
@click.option(
    "--probe.mode",
    "modes",
    type=click.Choice(MODES),
    multiple=True,
    help="Only this probe mode; repeatable. [default: all]",
)
@path_options
def compile_command(*, folder: Path, modes: tuple[str, ...], proc: Path, sys_: Path) -> None:
    """Compile the probes of this machine's kernel into FOLDER, for hosts without BCC.

    Copy FOLDER to hosts with the same kernel, number of possible CPUs and NUMA nodes, and huge page
    sizes, as /usr/lib/hvoscope/programs, or name it by --probe.programs. A program is used only
    where everything that it was compiled for is the same. Needs BCC, kernel headers and root here;
    nothing is attached.

    \b
    Exit codes:
      0  compiled
      2  wrong usage, or it can't be compiled; one line says why

    \b
    Examples:
      hvoscope compile programs
      hvoscope compile programs --probe.mode range
    """
    facts = Facts(Host(proc=proc, sys=sys_))
    if missing := preflight.headers_missing(facts):
        raise click.ClickException(str(missing))
    try:
        bcc = import_bcc(facts.distro_packages)
        folder.mkdir(parents=True, exist_ok=True)
        for what, text in _texts(facts, modes):
            path = shipped_path(folder, key_of(text, platform.machine()))
            replace_file(path, compile_text(bcc, text).dump())
            click.echo(f"{path}: {what}")
    except (BccMissingError, CompileError, ComposeError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{folder}: {error.strerror}") from error
    version = bcc_version(facts.distro_packages)
    click.echo(f"compiled by BCC {version}. Next: copy to {SHIPPED_FOLDER} on hosts like this one")


def _texts(facts: Facts, modes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and source of each program that a host like this one may ask for.

    Raises ``ComposeError`` if a mode that was asked for can't be had.
    """
    btf, symbols = facts.known_btf, facts.known_symbols
    trampolines = btf is not None and has_trampolines(symbols, platform.machine())
    for mode, fentry, stream in product(modes or MODES, (True, False), (False, True)):
        if fentry and not trampolines:
            continue
        what = ", ".join((mode, FENTRY if fentry else KPROBE, *(["event stream"] * stream)))
        try:
            composed = compose(facts.host, symbols, btf, mode, stream=stream, fentry=fentry)
        except ComposeError as error:
            if modes:
                raise
            click.echo(f"{what}: not on this kernel: {error}", err=True)
            continue
        yield what, composed.text
