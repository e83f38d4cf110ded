# SPDX-License-Identifier: Apache-2.0
"""A golden scrape: ``python -m tests.exporter.golden > tests/data/scrape.prom``.

Only this module defines how scrapes of the same state may differ.
"""

import re
import sys
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.registry import make_registry
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.generation import NEWEST
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
"""Series whose value depends on the time or the machine."""

_BUILD = re.compile(r'^(hvo_build_info\{python)="[^"]*"(,version)="[^"]*"', re.MULTILINE)

ONLY_LIVE = frozenset(
    {"hvo_map_errors", "hvo_census_timestamp_seconds", "hvo_supported", "hvo_check_result"}
)
"""Families that a simulation does not have: it has no BPF maps, no time, and nothing to check."""

ONLY_STREAMING = frozenset({"hvo_events_lost"})
"""Families of backends with an event stream, which ``hvoscope serve`` does not use."""

OF_THE_EXPORTER = frozenset({"process_cpu_seconds_total"})
"""Families that need no probe."""


def normalized(scrape: str) -> str:
    """Replace varying values with 0 and varying labels with nothing."""
    return _BUILD.sub(r'\1=""\2=""', _VARYING_VALUE.sub(r"\1 0.0", scrape))


def shape(scrape: str) -> dict[str, frozenset[str]]:
    """Return label names by family, without families that not every source has."""
    return {
        family.name: frozenset(label for sample in family.samples for label in sample.labels)
        for family in text_string_to_metric_families(scrape)
        if family.name not in ONLY_LIVE | ONLY_STREAMING
    }


def simulated_scrape() -> str:
    """Return the scrape of a kernel of the newest generation after ``OPERATIONS``."""
    backend = SimBackend(SimKernel(NEWEST, nodes=2, seed=3), stream=True)
    backend.start()
    for text in OPERATIONS:
        backend.operate(parse_operation(text))
    scrape = generate_latest(make_registry(backend)).decode()
    backend.stop()
    return scrape


if __name__ == "__main__":
    sys.stdout.write(normalized(simulated_scrape()))
