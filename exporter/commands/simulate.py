# SPDX-License-Identifier: Apache-2.0
"""``hvoscope simulate``."""

from typing import BinaryIO

import click

from exporter import simulate
from exporter.commands.options import parsed
from probes.operations import Operation, parse_operation
from sim_backend.generation import GENERATIONS


@click.command("simulate")
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
    callback=parsed(parse_operation),
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
