# SPDX-License-Identifier: Apache-2.0
"""Operations on a simulated kernel without pauses, and the resulting metrics."""

import dataclasses
import itertools
import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from prometheus_client.core import Metric

from exporter.metrics import families
from probes.geometry import GIB, Geometry, size_label
from probes.operations import Operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Step
from sim_backend.scenario.default import default_kernel, default_scenario
from sim_backend.scenario.file import Scenario
from sim_backend.scenario.timeline import to_time

MAX_HUGE_PAGE_BYTES = 1024 * GIB
"""Limit of huge page memory in one simulation, in bytes: every PTE is simulated."""


def run(
    kernel: SimKernel, steps: Iterable[Step], events: BinaryIO | None = None, *, loses: bool = False
) -> list[Metric]:
    """Perform ``steps`` without their pauses and return the metric families.

    Raw records go to ``events``; ``loses`` is passed to ``SimBackend``. Raises ``ValueError`` for
    an operation that the machine can't do, and ``OSError`` if writing to ``events`` fails.
    """
    backend = SimBackend(kernel, loses=loses, sink=events.write if events else None)
    backend.start()
    try:
        for step in steps:
            kernel.idle(step.seconds)
            backend.perform_step(step)
        info = backend.info
        return [*families.from_observation(backend.observe(), info), *families.info_metrics(info)]
    finally:
        backend.stop()


def default_steps(generation: str, seed: int, count: int) -> tuple[SimKernel, Iterator[Step]]:
    """Return the default scenario's machine and its first ``count`` steps."""
    return default_kernel(generation, seed), itertools.islice(default_scenario(seed), count)


def scenario_steps(scenario: Scenario, seed: int | None) -> Iterator[Step]:
    """Return all steps of ``scenario``; only the first round of one that loops."""
    return dataclasses.replace(scenario, loop=False).steps(seed)


def operation_steps(operations: Iterable[Operation]) -> Iterator[Step]:
    """Return one step per operation, without pauses."""
    return (Step(0.0, operation) for operation in operations)


def machine_for(
    generation: str,
    seed: int,
    nodes: int,
    operations: Sequence[Operation],
    *,
    page_size: int,
    sizes: Sequence[int],
) -> SimKernel:
    """Make a machine with three times the memory of ``operations``, at least 16 GB.

    ``sizes`` are its huge page sizes. Raises ``ValueError`` above ``MAX_HUGE_PAGE_BYTES``.
    """
    wanted = sum(operation.size * operation.pages for operation in operations)
    if wanted > MAX_HUGE_PAGE_BYTES:
        raise ValueError(
            f"the operations need {size_label(wanted)} of huge pages "
            f"(expected at most {size_label(MAX_HUGE_PAGE_BYTES)})"
        )
    per_node = max(16, -(-3 * wanted // (nodes * GIB))) * GIB
    return SimKernel(
        generation,
        geometry=Geometry(page_size),
        huge_page_sizes=sizes,
        nodes=nodes,
        memory_per_node=per_node,
        seed=seed,
    )


def scenario_table(scenarios: Iterable[Scenario]) -> str:
    """Format name, kernel, duration and description of each, in at most 100 columns."""
    rows = [(s.name, s.machine.kernel, to_time(s.duration), s.description) for s in scenarios]
    width = max(len(name) for name, *_ in rows)
    lines = []
    for name, kernel, duration, description in rows:
        start = f"{name:<{width}}  {kernel:>11}  {duration:>4}  "
        indent = " " * len(start)
        lines += textwrap.wrap(description, 100, initial_indent=start, subsequent_indent=indent)
    return "\n".join(lines)


def to_json(families: Iterable[Metric]) -> str:
    """Return one object: ``{"metrics": [{"name": ..., "labels": {...}, "value": ...}, ...]}``."""
    return json.dumps(
        {
            "metrics": [
                {"name": sample.name, "labels": sample.labels, "value": sample.value}
                for family in families
                for sample in family.samples
            ]
        }
    )


def to_table(families: Iterable[Metric]) -> str:
    """Format counters and pools that are not 0, one per line."""
    rows = [
        (sample.name, " ".join(f"{k}={v}" for k, v in sample.labels.items()), sample.value)
        for family in families
        for sample in family.samples
        if sample.value and not sample.name.endswith(("_bucket", "_info", "_attached"))
    ]
    name_width = max(len(name) for name, _, _ in rows)
    label_width = max(len(labels) for _, labels, _ in rows)
    return "\n".join(
        f"{name:<{name_width}}  {labels:<{label_width}}  {_value(value):>12}"
        for name, labels, value in rows
    )


def _value(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"
