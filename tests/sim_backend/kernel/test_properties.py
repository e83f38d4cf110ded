# SPDX-License-Identifier: Apache-2.0
"""Whatever is done in whatever order: no frame is lost, and events tell the whole story."""

from collections import Counter

from hypothesis import example, given, settings

from probes.counters import DURATIONS, PAGE_DURATIONS, PageKey, Reducer, reduce
from probes.events import RECORD, unpack_all
from probes.geometry import MIB
from probes.operations import Operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.generation import GENERATIONS, HeadFrame
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Action
from tests.sim_backend.strategies import (
    NODES,
    NOT_DRAWN,
    Workload,
    attempt,
    every_verb,
    machine,
    press,
    verbs_drawn,
    workloads,
)

SURPLUS_AT_THE_END: Workload = (
    "v17-enabled",
    0,
    [
        Operation("grow", 2 * MIB, 7),
        Operation("grow", 32 * MIB, 3),
        0,  # no memory to restore with
        Operation("shrink", 2 * MIB, 1),
    ],
)

SURPLUS_IN_THE_TARGET: Workload = (
    "6.0",
    0,
    [
        Action("take", size=2 * MIB, amount=1),
        Operation("grow", 32 * MIB, 1),
        Operation("demote", 32 * MIB, 1),
    ],
)


def empty(kernel: SimKernel, size: int) -> None:
    """Give back a whole pool, those that could not be restored before (surplus) included."""
    pages = Counter[str]()
    for pool in kernel.pools().by_node:
        if pool.size == size:
            pages[pool.state] += pool.pages
    if pages["surplus"]:  # a pool that grows takes them in before it allocates
        kernel.operate(Operation("grow", size, pages["surplus"]))
    if pages["total"]:
        kernel.operate(Operation("shrink", size, pages["total"]))


def records_of(workload: Workload) -> tuple[SimBackend, bytes]:
    """Do it all, with a backend that loses nothing."""
    generation, seed, todo = workload
    kernel = machine(generation, seed)
    blocks: list[bytes] = []
    backend = SimBackend(kernel, sink=blocks.append)
    backend.start()
    for step in todo:
        attempt(step, kernel, backend)
    kernel.check_conservation()
    backend.stop()
    return backend, b"".join(blocks)


@settings(max_examples=30, deadline=None)
@given(workload=workloads)
@example(workload=SURPLUS_AT_THE_END)
@example(workload=SURPLUS_IN_THE_TARGET)
def test_every_frame_is_somewhere(workload: Workload) -> None:
    generation, seed, todo = workload
    kernel = machine(generation, seed)
    kernel.attach(lambda event: None, lambda run: None)
    at_boot = kernel.accounts()
    for step in todo:
        attempt(step, kernel)
        kernel.check_conservation()
    press(kernel, None)
    for h in kernel.machine.hstates:
        if h.resv_huge_pages:
            kernel.operate(Operation("unreserve", h.size, h.resv_huge_pages))
        if h.hugepage_activelist:
            kernel.give(h.size, len(h.hugepage_activelist))
        empty(kernel, h.size)
    kernel.check_conservation()
    accounts = kernel.accounts()
    assert accounts.hugetlb == 0
    lost = len(kernel.machine.lost_frames) + len(kernel.machine.lost_heads)
    assert accounts.memmap == at_boot.memmap + lost
    assert not lost or GENERATIONS[generation].head is HeadFrame.REQUIRED_SHARED


def test_every_verb_is_drawn() -> None:
    assert verbs_drawn() == every_verb() - set(NOT_DRAWN)


@settings(max_examples=30, deadline=None)
@given(workload=workloads)
def test_records_reduce_to_the_counters(workload: Workload) -> None:
    backend, records = records_of(workload)
    events = list(unpack_all(records))
    keys = [PageKey(order, node) for order in (4, 9, 13) for node in range(NODES)]
    batched = "batch" in GENERATIONS[workload[0]].symbols
    durations = DURATIONS if batched else PAGE_DURATIONS
    assert reduce(events, keys, durations) == backend.observe().counters
    in_parts = Reducer(keys, durations)
    for event in events:
        in_parts.add([event])
    assert in_parts.snapshot() == backend.observe().counters


@settings(max_examples=30, deadline=None)
@given(workload=workloads)
def test_counters_are_the_same_when_nobody_reads_events(workload: Workload) -> None:
    generation, seed, todo = workload
    read, _ = records_of(workload)
    kernel = machine(generation, seed)
    unread = SimBackend(kernel)
    unread.start()
    for step in todo:
        attempt(step, kernel, unread)
    unread.stop()
    assert unread.observe().counters == read.observe().counters


@settings(max_examples=30, deadline=None)
@given(workload=workloads)
def test_records_are_what_they_say(workload: Workload) -> None:
    """They decode, and encode to the same bytes; no number is missing from a CPU's sequence."""
    _, records = records_of(workload)
    events = list(unpack_all(records))
    assert b"".join(event.pack() for event in events) == records
    by_cpu: dict[int, list[int]] = {}
    for event in events:
        by_cpu.setdefault(event.cpu, []).append(event.sequence)
    assert all(sequences == list(range(len(sequences))) for sequences in by_cpu.values())
    assert len(records) == len(events) * RECORD.size


@settings(max_examples=15, deadline=None)
@given(workload=workloads)
def test_the_same_seed_gives_the_same_bytes(workload: Workload) -> None:
    assert records_of(workload)[1] == records_of(workload)[1]
