# SPDX-License-Identifier: Apache-2.0
"""A scrape that never changes: ``python -m tests.exporter.golden > tests/data/scrape.prom``.

Here, and only here, stands in what scrapes of the same state may differ.
"""

import re
import sys
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.registry import make_registry
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel

GOLDEN = Path(__file__).parents[1] / "data/scrape.prom"

OPERATIONS = (
    "grow 2MB 23",
    "grow 1GB 2",
    "shrink 2MB 5",
    "overcommit 2MB 7",
    "demote 1GB 1",
    "hvo off",
    "grow 2MB 3",
)

_VARYING_VALUE = re.compile(
    r"^((?:process_\w+|hvo_scrape_duration_seconds|hvo_scrape_collector_duration_seconds)"
    r"(?:\{.*\})?) .*$",
    re.MULTILINE,
)
"""Series whose value is of the moment or the machine."""

_BUILD = re.compile(r'^(hvo_build_info\{python)="[^"]*"(,version)="[^"]*"', re.MULTILINE)

ONLY_LIVE = frozenset({"hvo_map_errors"})
"""Families that a simulation can't have: it has no BPF map."""

ONLY_STREAMING = frozenset({"hvo_events_lost"})
"""Families that only a backend with an event stream has; ``hvoscope serve`` needs none."""

OF_THE_EXPORTER = frozenset({"process_cpu_seconds_total"})
"""Counters that need no probe."""


def normalised(scrape: str) -> str:
    """The scrape with 0 for values, and nothing for labels, that vary."""
    return _BUILD.sub(r'\1=""\2=""', _VARYING_VALUE.sub(r"\1 0.0", scrape))


def shape(scrape: str) -> dict[str, frozenset[str]]:
    """Names of the labels of each family, without the families that not every source has."""
    return {
        family.name: frozenset(label for sample in family.samples for label in sample.labels)
        for family in text_string_to_metric_families(scrape)
        if family.name not in ONLY_LIVE | ONLY_STREAMING
    }


def simulated_scrape() -> str:
    """A kernel of the newest generation after ``OPERATIONS``, as the daemon would show it."""
    backend = SimBackend(SimKernel("7.1", nodes=2, seed=3), stream=True)
    backend.start()
    for text in OPERATIONS:
        backend.operate(parse_operation(text))
    scrape = generate_latest(make_registry(backend)).decode()
    backend.stop()
    return scrape


if __name__ == "__main__":
    sys.stdout.write(normalised(simulated_scrape()))
