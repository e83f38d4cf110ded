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
from exporter.cli.options import parsed, refuse_terminal
from exporter.cli.stopping import lost_output_ends
from probes.geometry import ARCHITECTURES, parse_size
from probes.operations import Operation, parse_operation
from sim_backend.kernel.generation import GENERATIONS
from sim_backend.kernel.procfs import MachineFiles
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Step
from sim_backend.scenario.file import Scenario, load, shipped
from sim_backend.scenario.machine import huge_page_sizes

DEFAULT_KERNEL = "v17-enabled"


@dataclass(frozen=True)
class _Wish:
    """What the options say about machine and story; None where they say nothing."""

    operations: tuple[Operation, ...]
    scenario: Scenario | None
    steps: int | None
    generation: str | None
    seed: int | None
    nodes: int
    architecture: str
    page_size: int

    def story(self) -> tuple[SimKernel, Iterator[Step]]:
        """The machine, and what happens to it. Raises ``ValueError``."""
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
    help="An operation; may be given many times, they run in order.",
)
@click.option(
    "--scenario",
    callback=parsed(lambda text: text and load(text)),
    metavar="NAME|FILE",
    help="Instead of --op: a scenario that comes with hvoscope, or a file of your own (-: stdin).",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Instead of --op: so many steps of the default scenario, the one of serve.",
)
@click.option(
    "--list-scenarios",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_scenarios,
    help="List the scenarios that come with hvoscope.",
)
@click.option(
    "--kernel",
    "generation",
    type=click.Choice(list(GENERATIONS)),
    help="Kernel generation; v17 is the seed as posted (it frees nothing yet). "
    f"[default: the scenario's, or {DEFAULT_KERNEL}]",
)
@click.option("--seed", type=int, help="Seed of the simulation. [default: the scenario's, or 1]")
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
    help="Architecture, whose huge page sizes there are, with --op.",
)
@click.option(
    "--page-size",
    callback=parsed(parse_size),
    metavar="SIZE",
    default="4K",
    show_default=True,
    help="Base page, with --op: arm64 has 4K, 16K and 64K.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--events",
    type=click.File("wb"),
    help="Write the raw event records to this file; -: to standard output, the counters to stderr.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the machine's /proc and /sys, as they are in the end, into this folder.",
)
def simulate_command(
    *, as_json: bool, events: BinaryIO | None, files: Path | None, **options: Any
) -> None:
    """Run operations or a scenario on a simulated kernel, as fast as it goes; print the counters.

    \b
    Examples:
      hvoscope simulate --op "grow 2MB 23" --op "shrink 2MB 23"
      hvoscope simulate --kernel 5.18 --op "grow 1GB 1" --json
      hvoscope simulate --arch arm64 --page-size 64K --op "grow 512MB 23"
      hvoscope simulate --scenario memory-pressure
      hvoscope simulate --steps 100 --events events.bin
    """
    wish = _Wish(**options)
    if sum(map(bool, (wish.operations, wish.scenario, wish.steps))) != 1:
        raise click.UsageError("give one of --op (once or more), --scenario and --steps")
    to_stdout = events is sys.stdout.buffer
    if to_stdout:
        refuse_terminal("the event stream")
    found: list[Metric] = []
    output: AbstractContextManager[None] = lost_output_ends() if to_stdout else nullcontext()
    try:
        kernel, steps = wish.story()
        loses = wish.scenario is not None and wish.scenario.loses
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
