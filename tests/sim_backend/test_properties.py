# SPDX-License-Identifier: Apache-2.0
"""Whatever is done in whatever order: no frame is lost, and events tell the whole story."""

from hypothesis import given, settings
from hypothesis import strategies as st

from probes.counters import DURATIONS, PAGE_DURATIONS, PageKey, Reducer, reduce
from probes.events import unpack_all
from probes.geometry import KIB, MIB
from probes.operations import Operation
from sim_backend.backend import SimBackend
from sim_backend.errors import OperationError
from sim_backend.generation import GENERATIONS
from sim_backend.kernel import SimKernel
from tests.sim_backend.harness import ALL

SIZES = (64 * KIB, 2 * MIB, 32 * MIB)

generations = st.sampled_from(ALL)
operations = st.lists(
    st.one_of(
        st.builds(
            Operation,
            st.sampled_from(["grow", "shrink", "overcommit", "demote"]),
            st.sampled_from(SIZES),
            st.integers(1, 9),
        ),
        st.builds(Operation, st.just("hvo"), on=st.booleans()),
    ),
    max_size=12,
)


def machine(generation: str) -> SimKernel:
    return SimKernel(generation, huge_page_sizes=SIZES, nodes=2, memory_per_node=256 * MIB)


def attempt(kernel: SimKernel | SimBackend, operation: Operation) -> None:
    try:
        kernel.operate(operation)
    except OperationError as refusal:
        assert 0 <= refusal.done < operation.pages


@settings(max_examples=60, deadline=None)
@given(generation=generations, todo=operations)
def test_every_frame_is_somewhere(generation: str, todo: list[Operation]) -> None:
    kernel = machine(generation)
    kernel.attach(lambda event: None)
    at_boot = kernel.books()
    for operation in todo:
        attempt(kernel, operation)
        kernel.check_conservation()
    for pool in list(kernel.pools()):
        if pool.state == "total" and pool.pages:
            kernel.operate(Operation("shrink", pool.size, pool.pages))
    kernel.check_conservation()
    books = kernel.books()
    assert books.hugetlb == 0
    assert books.memmap == at_boot.memmap


@settings(max_examples=40, deadline=None)
@given(generation=generations, todo=operations, leave=st.integers(0, 3000))
def test_every_frame_is_somewhere_under_pressure(
    generation: str, todo: list[Operation], leave: int
) -> None:
    kernel = machine(generation)
    kernel.attach(lambda event: None)
    kernel.operate(Operation("grow", 2 * MIB, 5))
    for node in range(2):
        kernel.hold_memory(node, leave)
    for operation in todo:
        attempt(kernel, operation)
        kernel.check_conservation()


@settings(max_examples=40, deadline=None)
@given(generation=generations, todo=operations)
def test_records_reduce_to_the_counters(generation: str, todo: list[Operation]) -> None:
    backend = SimBackend(machine(generation), stream=True, queue_records=10**6)
    backend.start()
    for operation in todo:
        attempt(backend, operation)
    counters = backend.counters()
    backend.stop()
    events = list(unpack_all(b"".join(backend.records())))
    keys = [PageKey(order, node) for order in (4, 9, 13) for node in (0, 1)]
    batched = "batch" in GENERATIONS[generation].symbols
    durations = DURATIONS if batched else PAGE_DURATIONS
    assert reduce(events, keys, durations) == counters
    in_parts = Reducer(keys, durations)
    for event in events:
        in_parts.add([event])
    assert in_parts.snapshot() == counters
