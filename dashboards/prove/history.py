# SPDX-License-Identifier: Apache-2.0
"""A day of five simulated machines, with known exact values, in a real Prometheus.

They are in two clusters, with labels as Kubernetes' targets have them; targets of another job have
the same names and are down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dashboards.prove import layers, openmetrics
from dashboards.prove.prometheus import Prometheus, load, record, running
from dashboards.prove.queries import Window
from dashboards.prove.watch import Watched, watch
from sim_backend.scenario.file import load as load_scenario

MACHINES = Path(__file__).parent / "machines"
EVERY = 120.0
"""Scrape interval in seconds."""
WINDOW = Window(rate=4 * EVERY, shown=6 * 3600.0)
START = 1_780_272_000.0
"""1 June 2026, 00:00 UTC."""
END = START + 86_400.0

_CONFIG = """\
global: {scrape_interval: 2m}
"""


class Day(NamedTuple):
    """The machines' history, and a Prometheus that stores it."""

    machines: list[Watched]
    prometheus: Prometheus


def simulate() -> list[Watched]:
    """Simulate the day of all machines."""
    paths = sorted(MACHINES.glob("*.toml"))
    return [watch(load_scenario(str(path)), every=EVERY) for path in paths]


def store(machines: list[Watched], storage: Path) -> None:
    """Write all scrapes into the folder ``storage``. Raises ``PrometheusError``."""
    storage.mkdir(parents=True, exist_ok=True)
    text = storage / "day.om"
    with text.open("w") as out:
        openmetrics.write([machine.history for machine in machines], START, out)
    load(text, storage)
    text.unlink()


@contextmanager
def day(storage: Path) -> Iterator[Day]:
    """Run a Prometheus with the whole day in the folder ``storage`` during the block."""
    machines = simulate()
    store(machines, storage)
    path = storage / "recorded.yml"
    for _ in layers.write(path):
        with running(storage, _CONFIG) as prometheus:
            record(prometheus, path, storage, START, END + EVERY)
    with running(storage, _CONFIG) as prometheus:
        yield Day(machines, prometheus)
