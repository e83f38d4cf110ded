# SPDX-License-Identifier: Apache-2.0
"""``hvoscope simulate``."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
from prometheus_client.core import Metric

from exporter.cli import simulation as simulate
from exporter.cli.kernel_option import complete_kernel, generation_of
from exporter.cli.options import parsed, refuse_terminal
from exporter.cli.stopping import exit_on_output_error
from probes.geometry import ARCHITECTURES, parse_size
from probes.operations import Operation, parse_operation
from sim_backend.kernel.generation import NEWEST
from sim_backend.kernel.procfs import MachineFiles
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Step
from sim_backend.scenario.file import Scenario, load, shipped
from sim_backend.scenario.machine import huge_page_sizes

DEFAULT_KERNEL = NEWEST


@dataclass(frozen=True)
class _Options:
    """Options that choose the machine and its operations; None: not given."""

    operations: tuple[Operation, ...]
    scenario: Scenario | None
    steps: int | None
    generation: str | None
    seed: int | None
    nodes: int
    architecture: str
    page_size: int

    def kernel_and_steps(self) -> tuple[SimKernel, Iterator[Step]]:
        """Make the simulated kernel and the steps to run on it. Raises ``ValueError``."""
        if self.scenario:
            kernel = self.scenario.boot_up(self.generation, self.seed)
            return kernel, simulate.scenario_steps(self.scenario, self.seed)
        generation = self.generation or DEFAULT_KERNEL
        seed = 1 if self.seed is None else self.seed
        if self.steps:
            return simulate.default_steps(generation, seed, self.steps)
        sizes = huge_page_sizes(self.architecture, self.page_size)
        kernel = simulate.machine_for(
            generation, seed, self.nodes, self.operations, page_size=self.page_size, sizes=sizes
        )
        return kernel, simulate.operation_steps(self.operations)


def _list_scenarios(context: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(simulate.scenario_table(map(load, shipped())))
        context.exit()


@click.command("simulate")
@click.option(
    "--op",
    "operations",
    callback=parsed(parse_operation),
    metavar="OPERATION",
    multiple=True,
    help="Operation to run; repeatable, in order.",
)
@click.option(
    "--scenario",
    callback=parsed(lambda text: text and load(text)),
    metavar="NAME|FILE",
    help="Instead of --op: run a shipped scenario, or a file (-: stdin).",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Instead of --op: run this many scenario steps of the default scenario of serve.",
)
@click.option(
    "--list-scenarios",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_scenarios,
    help="List the shipped scenarios and exit.",
)
@click.option(
    "--kernel",
    "generation",
    callback=parsed(generation_of),
    shell_complete=complete_kernel,
    metavar="RELEASE",
    help="Kernel release, such as 5.15, 6.12.118 or 7.0; or v17, the patch as posted (which frees "
    f"nothing yet), or v17-enabled. [default: the scenario's, or {DEFAULT_KERNEL}, the newest]",
)
@click.option(
    "--seed", type=int, help="Random seed of the simulation. [default: the scenario's, or 1]"
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="NUMA nodes, with --op.",
)
@click.option(
    "--arch",
    "architecture",
    type=click.Choice(list(ARCHITECTURES)),
    default="x86-64",
    show_default=True,
    help="Architecture, which decides the huge page sizes, with --op.",
)
@click.option(
    "--page-size",
    callback=parsed(parse_size),
    metavar="SIZE",
    default="4K",
    show_default=True,
    help="Base page size, with --op; arm64 has 4K, 16K and 64K.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--events",
    type=click.File("wb"),
    help="Write raw event records to this file; -: standard output, with counters on stderr.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the machine's final /proc and /sys into this folder.",
)
def simulate_command(
    *, as_json: bool, events: BinaryIO | None, files: Path | None, **options: Any
) -> None:
    """Run operations or a scenario on a simulated kernel without pauses, and print the counters.

    \b
    Examples:
      hvoscope simulate --op "grow 2MB 23" --op "shrink 2MB 23"
      hvoscope simulate --kernel 5.18 --op "grow 1GB 1" --json
      hvoscope simulate --arch arm64 --page-size 64K --op "grow 512MB 23"
      hvoscope simulate --scenario memory-pressure
      hvoscope simulate --steps 100 --events events.bin
    """
    chosen = _Options(**options)
    if sum(map(bool, (chosen.operations, chosen.scenario, chosen.steps))) != 1:
        raise click.UsageError("give exactly one of --op (repeatable), --scenario and --steps")
    to_stdout = events is sys.stdout.buffer
    if to_stdout:
        refuse_terminal("the event stream")
    found: list[Metric] = []
    output: AbstractContextManager[None] = exit_on_output_error() if to_stdout else nullcontext()
    try:
        kernel, steps = chosen.kernel_and_steps()
        loses = chosen.scenario is not None and chosen.scenario.loses
        with output:
            found = simulate.run(kernel, steps, events, loses=loses)
            if events:
                events.flush()
        if files:
            MachineFiles(kernel, files)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if found:
        click.echo(simulate.to_json(found) if as_json else simulate.to_table(found), err=to_stdout)
