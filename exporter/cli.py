# SPDX-License-Identifier: Apache-2.0
"""The command line. Anything a user got wrong is one line on stderr and exit code 2."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import click

from exporter import check, daemon, simulate, trace
from exporter.sources import BACKENDS, Choice, Source, make_source
from exporter.web import Address, parse_address
from probes import preflight
from probes.backend import BackendError
from probes.host import Host
from probes.live.handover import ATTACHES, AUTO
from probes.live.plan import FULL, MODES
from probes.operations import Operation, parse_operation
from sim_backend.generation import GENERATIONS

DEFAULT_ADDRESS = "127.0.0.1:10917"

EXIT_NOT_READY = 1
EXIT_USAGE = 2


def _parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """An option's callback from a function that raises ``ValueError``, whose text it passes on."""

    def callback(_context: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return tuple(map(parse, value)) if param.multiple else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _telemetry_path(text: str) -> str:
    if not text.startswith("/") or text == "/" or text.startswith("/-/"):
        raise ValueError(f"{text!r} must start with / and be neither / nor below /-/")
    return text


def _source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose where events come from, the same for every command that has them."""
    for option in (
        click.option(
            "--sim.seed", "seed", default=1, show_default=True, help="Seed of the simulation."
        ),
        click.option(
            "--sim.kernel",
            "generation",
            type=click.Choice(list(GENERATIONS)),
            default="v17-enabled",
            show_default=True,
            help="Kernel generation to simulate.",
        ),
        click.option(
            "--probe.attach",
            "attach",
            type=click.Choice(ATTACHES),
            default=AUTO,
            show_default=True,
            help="How to attach; auto is fentry where the kernel can.",
        ),
        click.option(
            "--probe.mode",
            "mode",
            type=click.Choice(MODES),
            default=FULL,
            show_default=True,
            help="full: a probe on every PTE. range: the same counts at less cost.",
        ),
        click.option(
            "--backend",
            type=click.Choice(BACKENDS),
            default="bcc",
            show_default=True,
            help="bcc: this machine's kernel, needs root. sim: a simulated kernel.",
        ),
    ):
        command = option(command)
    return command


def _path_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose whose /proc and /sys are read, as from inside a container."""
    for option in (
        click.option(
            "--path.sysfs", "sys_", type=click.Path(path_type=Path), default="/sys", help="/sys."
        ),
        click.option(
            "--path.procfs", "proc", type=click.Path(path_type=Path), default="/proc", help="/proc."
        ),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hvoscope", prog_name="hvoscope")
def cli() -> None:
    """See the kernel give back struct page memory: HugeTLB vmemmap optimisation (HVO)."""


@cli.command()
@_source_options
@click.option(
    "--web.listen-address",
    "address",
    callback=_parsed(parse_address),
    metavar="HOST:PORT",
    default=DEFAULT_ADDRESS,
    show_default=True,
    help="Where to serve; :PORT means every address.",
)
@click.option(
    "--web.telemetry-path",
    "telemetry_path",
    callback=_parsed(_telemetry_path),
    metavar="PATH",
    default="/metrics",
    show_default=True,
    help="Path of the metrics.",
)
@_path_options
def serve(
    *,
    address: Address,
    telemetry_path: str,
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
        daemon.serve(source.backend, source.state, address, telemetry_path)
    except daemon.AddressError as error:
        raise click.ClickException(
            f"{error}: choose another with --web.listen-address HOST:PORT"
        ) from error


@cli.command("simulate")
@click.option(
    "--kernel",
    "generation",
    type=click.Choice(list(GENERATIONS)),
    default="v17-enabled",
    show_default=True,
    help="Kernel generation: v17 is the seed as posted (it frees nothing yet).",
)
@click.option(
    "--op",
    "operations",
    callback=_parsed(parse_operation),
    metavar="OPERATION",
    multiple=True,
    help="An operation; may be given many times, they run in order.",
)
@click.option(
    "--scenario",
    "steps",
    type=click.IntRange(min=1),
    help="Instead of --op: run this many operations of the default scenario.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the simulation.")
@click.option(
    "--nodes", type=click.IntRange(1, 64), default=1, show_default=True, help="NUMA nodes."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--events", type=click.File("wb"), help="Write the raw event records to this file.")
def simulate_command(
    *,
    generation: str,
    operations: tuple[Operation, ...],
    steps: int | None,
    seed: int,
    nodes: int,
    as_json: bool,
    events: BinaryIO | None,
) -> None:
    """Run operations on a simulated kernel, as fast as it goes, and print the counters.

    \b
    Examples:
      hvoscope simulate --op "grow 2MB 23" --op "shrink 2MB 23"
      hvoscope simulate --kernel 5.18 --op "grow 1GB 1" --json
      hvoscope simulate --scenario 100 --events events.bin
    """
    if bool(operations) == bool(steps):
        raise click.UsageError("give either --op (one or more) or --scenario COUNT")
    try:
        if steps:
            kernel, story = simulate.scenario(generation, seed, steps)
        else:
            kernel = simulate.machine_for(generation, seed, nodes, operations)
            story = iter(operations)
        families = simulate.run(kernel, story, events)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(simulate.to_json(families) if as_json else simulate.to_table(families))


@cli.command("trace")
@_source_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
def trace_command(*, as_json: bool, count: int | None, **choice: Any) -> None:
    """Print every event as it happens: a table, or JSON lines.

    \b
    Examples:
      hvoscope trace
      hvoscope trace --backend sim --count 20 --json
    """
    source = make_source(Choice(**choice), Host(), stream=True)
    if source.backend.info.mode == "simulated":
        click.echo("hvoscope: these events are SIMULATED", err=True)
    try:
        source.backend.start()
    except BackendError as error:
        raise click.ClickException(str(error)) from error
    try:
        _print_events(source, as_json, count)
    except BrokenPipeError:
        # The reader has gone, as with `| head`: no news. Keep Python from flushing into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        source.backend.stop()
        for where, lost in source.backend.status().lost.items():
            if lost:
                click.echo(f"hvoscope: {lost} events lost ({where})", err=True)


@cli.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_path_options
def check_command(*, as_json: bool, proc: Path, sys_: Path) -> None:
    """Say what will work on this machine, what will not, and how to mend it.

    Reads files only, and needs no root; what it can't read it calls unknown.

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
    findings = preflight.examine(Host(proc=proc, sys=sys_))
    if as_json:
        click.echo(check.to_json(findings))
    else:
        click.echo(check.to_table(findings, check.terminal_width()))
    raise click.exceptions.Exit(0 if preflight.is_ready(findings) else EXIT_NOT_READY)


def _print_events(source: Source, as_json: bool, count: int | None) -> None:
    for probe in source.backend.status().probes:
        if not probe.attached:
            click.echo(f"hvoscope: {probe.step} not attached: {probe.reason}", err=True)
    if not as_json:
        click.echo(trace.HEADER)
    to_line = trace.line_format(source.backend.info, as_json)
    for event in trace.first_events(source.backend.records(), count):
        click.echo(to_line(event))


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)


def main() -> None:
    """Entry point of the ``hvoscope`` command."""
    try:
        sys.exit(cli.main(prog_name="hvoscope", standalone_mode=False))
    except click.ClickException as error:
        click.echo(f"hvoscope: error: {error.format_message()}", err=True)
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
