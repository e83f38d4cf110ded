# SPDX-License-Identifier: Apache-2.0
"""A terabyte of 1 GB pages, there and back: 4 million PTEs each way.

The target is 1 s of CPU time where only counters are read, and 5 million PTE events a second as
records. The bounds are five times that, so that a busy machine and a coverage tracer pass and
one Python object per PTE, which takes 15 times as long, does not.
"""

import tracemalloc
from time import process_time

import pytest

from probes.events import RECORD
from probes.geometry import GIB, MIB
from probes.operations import Operation
from sim_backend.backend import SimBackend, Sink
from sim_backend.kernel.sim_kernel import SimKernel

PAGES = 1024
PTES = PAGES * 4094
TARGET_SECONDS = 1.0
TARGET_EVENTS = 5_000_000
SLACK = 5


def terabyte(generation: str, sink: Sink | None = None) -> SimBackend:
    kernel = SimKernel(generation, huge_page_sizes=(GIB,), memory_per_node=1100 * GIB)
    backend = SimBackend(kernel, sink=sink)
    backend.start()
    return backend


def seconds(backend: SimBackend, verb: str) -> float:
    since = process_time()
    assert backend.operate(Operation(verb, GIB, PAGES)) == PAGES
    return process_time() - since


@pytest.mark.parametrize("generation", ["v17-enabled", "7.1"])
def test_counters_of_a_terabyte(generation: str) -> None:
    backend = terabyte(generation)
    assert seconds(backend, "grow") < SLACK * TARGET_SECONDS
    assert seconds(backend, "shrink") < SLACK * TARGET_SECONDS
    for family in ("ptes_remapped", "ptes_restored"):
        total = backend.observe().counters.total(family)
        assert total is not None
        assert total >= PTES


def test_records_of_a_terabyte() -> None:
    written = 0

    def count(block: bytes) -> None:
        nonlocal written
        written += len(block) // RECORD.size

    backend = terabyte("v17-enabled", count)
    for verb in ("grow", "shrink"):
        written = 0
        taken = seconds(backend, verb)
        assert written > PTES
        assert written / taken > TARGET_EVENTS / SLACK


def test_there_is_no_object_per_frame() -> None:
    """Tables of PTEs take 4 KiB each, as in a real kernel: 4 MiB. Objects would be 36 MiB."""
    pages = PAGES // 8
    tracemalloc.start()
    try:
        backend = terabyte("v17-enabled")
        backend.operate(Operation("grow", GIB, pages))
        backend.operate(Operation("shrink", GIB, pages))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB
