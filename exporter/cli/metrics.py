# SPDX-License-Identifier: Apache-2.0
"""``hvoscope metrics``."""

import time
from collections.abc import Callable
from pathlib import Path

import click
from prometheus_client import CollectorRegistry, generate_latest

from exporter.cli.options import path_options
from exporter.cli.replace_file import replace_file
from exporter.metrics.collector import HvoCollector
from probes.census.census import frames_each, optimized_pages
from probes.census.facts import CensusError
from probes.kernel.host import Host
from probes.live.state_backend import StateBackend
from probes.observation import Absent, Census
from probes.preflight.facts import Facts


@click.command("metrics")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Replace FILE, at once, instead of printing: for node_exporter's textfile collector.",
)
@path_options
def metrics_command(*, output: Path | None, proc: Path, sys_: Path) -> None:
    """Print this machine's metrics once, without probes and without a daemon.

    Pools, switch, the kernel's accounting, and what the checks found; as root, also a census: what
    is optimized and saved now. Counters need probes: hvoscope serve.

    \b
    Examples:
      hvoscope metrics
      hvoscope metrics --output /var/lib/prometheus/node-exporter/hvoscope.prom
    """
    host = Host(proc=proc, sys=sys_)
    backend = StateBackend(host, census=_census_of(Facts(host)))
    backend.start()
    registry = CollectorRegistry()
    registry.register(HvoCollector(backend))
    text = generate_latest(registry)
    if output is None:
        click.echo(text, nl=False)
    else:
        replace_file(output, text)


def _census_of(facts: Facts) -> Callable[[], Census | Absent]:
    def take() -> Census | Absent:
        taken = time.time()
        if isinstance(facts.census, CensusError):
            return Absent(str(facts.census))
        return Census(optimized_pages(facts.census), frames_each(facts.census), taken)

    return take
