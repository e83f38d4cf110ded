# SPDX-License-Identifier: Apache-2.0
"""The catalogue as a page: ``python -m exporter.metrics.page > docs/metrics.md``."""

import sys
from collections.abc import Iterator

from exporter.metrics import catalogue
from exporter.metrics.catalogue import BACKENDS, Metric

_HEAD = """\
# Metrics

Made from `exporter/metrics/catalogue.py` by `python -m exporter.metrics.page`; a test compares
the two.

What a kernel or a backend can't give is absent, never 0. Backend `bcc` is this machine's kernel,
`sim` a simulated one, which also shows what its kernel generation would not yet.

| metric | type | labels | from Linux | meaning |
|---|---|---|---|---|"""

_TAIL = """
`hvoscope serve` also has the `process_*` metrics of the exporter itself (CPU time, memory, file
descriptors, start time), as Prometheus' client libraries name them.

Labels: `size` is spelled as in the kernel's documentation (`2MB`, `1GB`), `node` is the number of
a NUMA node. No label holds a process, a name of a task, or a host, so the number of series depends
on the machine alone."""


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield _HEAD
    yield from map(_row, catalogue.ALL)
    yield _TAIL


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    only = "" if metric.backends == BACKENDS else f" Only backend {', '.join(metric.backends)}."
    name = f"`{metric.exposed_name}`"
    return f"| {name} | {metric.kind} | {labels} | {metric.since} | {metric.help}{only} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*lines(), ""]))
