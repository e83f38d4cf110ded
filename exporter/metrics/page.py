# SPDX-License-Identifier: Apache-2.0
"""Print the catalogue as a page: ``python -m exporter.metrics.page > docs/metrics.md``."""

import sys
from collections.abc import Iterator

from exporter.metrics import catalogue
from exporter.metrics.catalogue import PROBED, Metric

_HEAD = """\
# Metrics

Generated from `exporter/metrics/catalogue.py` by `python -m exporter.metrics.page`; a test compares
the two.

A metric that a kernel or backend does not provide is absent, never 0. Backend `bcc` is this
machine's kernel. Backend `state` is the same kernel without probes: it has pools, switch, memmap
and the checks' results. Backend `sim` is a simulated kernel; it also provides metrics that a real
kernel of its generation does not.

| metric | type | labels | since Linux | meaning |
|---|---|---|---|---|"""

_TAIL = """
`hvoscope serve` also exposes the `process_*` metrics of the exporter itself (CPU time, memory, file
descriptors, start time), named as by Prometheus' client libraries.

Labels: `size` is spelled as in the kernel's documentation (`2MB`, `1GB`); `numa_node` is a NUMA
node number. No label holds a process, task name or host, so the number of series depends only on
the machine."""


def lines() -> Iterator[str]:
    """Yield the page's lines."""
    yield _HEAD
    yield from map(_row, catalogue.ALL)
    yield _TAIL


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    only = "" if metric.backends == PROBED else f" Only backend {', '.join(metric.backends)}."
    name = f"`{metric.exposed_name}`"
    return f"| {name} | {metric.kind} | {labels} | {metric.since} | {metric.help}{only} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*lines(), ""]))
