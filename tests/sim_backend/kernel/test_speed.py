# SPDX-License-Identifier: Apache-2.0
"""A terabyte of 1 GB pages, there and back: 4 million PTEs each way.

CPU time is held against the plainest loop that makes one Python object for each PTE, measured right
before: a slow or busy machine passes, and a simulator with an object for each PTE, which takes many
times as long as that loop, does not. `make bench ONLY=simulator` has the times themselves.
"""

import tracemalloc
from collections import deque
from time import process_time

import pytest

from probes.events import RECORD
from probes.geometry import GIB, MIB
from probes.operations import Operation
from sim_backend.backend import SimBackend, Sink
from sim_backend.kernel.sim_kernel import SimKernel

PAGES = 1024
PTES = PAGES * 4094
COUNTERS_OVER_LOOP = 8
RECORDS_OVER_LOOP = 16
"""Most CPU time that a terabyte may take, in times of the loop; an object for each PTE takes 40."""


def terabyte(generation: str, sink: Sink | None = None) -> SimBackend:
    kernel = SimKernel(generation, huge_page_sizes=(GIB,), memory_per_node=1100 * GIB)
    backend = SimBackend(kernel, sink=sink)
    backend.start()
    return backend


def plainest_loop() -> float:
    """CPU seconds to make, and drop, an object for each PTE."""
    since = process_time()
    deque((object() for _ in range(PTES)), maxlen=0)
    return process_time() - since


def seconds(backend: SimBackend, verb: str) -> float:
    since = process_time()
    assert backend.operate(Operation(verb, GIB, PAGES)) == PAGES
    return process_time() - since


@pytest.mark.parametrize("generation", ["v17-enabled", "7.1"])
def test_counters_of_a_terabyte(generation: str) -> None:
    backend = terabyte(generation)
    for verb in ("grow", "shrink"):
        loop = plainest_loop()
        assert seconds(backend, verb) < COUNTERS_OVER_LOOP * loop
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
        written, loop = 0, plainest_loop()
        assert seconds(backend, verb) < RECORDS_OVER_LOOP * loop
        assert written > PTES


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
