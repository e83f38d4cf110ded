# SPDX-License-Identifier: Apache-2.0
"""Operations on a simulated kernel, as fast as it goes, and what the exporter would then say."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from prometheus_client.core import Metric

from exporter import families
from probes.accounting import Drift
from probes.geometry import GIB, size_label
from probes.operations import Operation
from sim_backend.backend import SimBackend
from sim_backend.kernel import SimKernel
from sim_backend.scenario import default_kernel, default_scenario

LARGEST = 1024 * GIB
"""Huge pages, in bytes, that a simulated machine may be asked for: each PTE takes its time."""


def run(
    kernel: SimKernel, operations: Iterable[Operation], events: BinaryIO | None = None
) -> list[Metric]:
    """Do ``operations`` and return the metric families; raw records go to ``events``.

    Raises ``ValueError`` for an operation that the machine can't do, and ``OSError`` of ``events``.
    """
    backend = SimBackend(kernel, sink=events.write if events else None)
    drift = Drift(backend, backend)
    backend.start()
    drift.mark()
    try:
        for operation in operations:
            backend.operate(operation)
        parts = families.parts(backend, backend, drift).values()
        found = [family for part in parts for family in part()]
        return [*found, *families.identity(backend.info)]
    finally:
        backend.stop()


def scenario(generation: str, seed: int, steps: int) -> tuple[SimKernel, Iterator[Operation]]:
    """The default scenario's machine and its first ``steps`` operations, without their pauses."""
    story = itertools.islice(default_scenario(seed), steps)
    return default_kernel(generation, seed), (operation for _, operation in story)


def machine_for(
    generation: str, seed: int, nodes: int, operations: Sequence[Operation]
) -> SimKernel:
    """A machine with three times the memory that ``operations`` could ask for, 16 GB at least.

    Raises ``ValueError`` where they ask for more than ``LARGEST``.
    """
    wanted = sum(operation.size * operation.pages for operation in operations)
    if wanted > LARGEST:
        raise ValueError(f"the operations name more than {size_label(LARGEST)} of huge pages")
    per_node = max(16, -(-3 * wanted // (nodes * GIB))) * GIB
    return SimKernel(generation, nodes=nodes, memory_per_node=per_node, seed=seed)


def to_json(families: Iterable[Metric]) -> str:
    """One object: ``{"metrics": [{"name": ..., "labels": {...}, "value": ...}, ...]}``."""
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
    """Counters and pools that are not 0, one a line."""
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
