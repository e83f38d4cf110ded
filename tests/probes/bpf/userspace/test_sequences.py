# SPDX-License-Identifier: Apache-2.0
"""The BPF program counts and reports the same as the reducer, for simulated kernel activity."""

from collections.abc import Iterable, Sequence
from errno import ENOMEM
from heapq import merge
from itertools import chain, cycle, pairwise

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from probes.backend import FULL, RANGE
from probes.counters import ENOTSUPP
from probes.events import Event, Kind, Reason
from probes.geometry import GIB, MIB
from probes.operations import parse_operation
from sim_backend.kernel.generation import GENERATIONS, HeadFrame, PoolInterface
from sim_backend.kernel.hugetlb_vmemmap import free_huge_page_vmemmap
from sim_backend.kernel.hugetlb_vmemmap_folios import hugetlb_vmemmap_optimize_folio
from sim_backend.kernel.sim_kernel import SimKernel
from tests.probes.bpf.userspace.kernels import KERNELS, Kernel
from tests.probes.bpf.userspace.library import encode
from tests.probes.bpf.userspace.recorder import Call, Recorder, record, wandering
from tests.probes.bpf.userspace.run import (
    LAYOUT,
    Lab,
    check,
    play,
    program_for,
    variants,
)
from tests.sim_backend.strategies import NODES, SIZES, Workload, attempt, workloads

OPERATIONS = (
    "grow 2MB 7",
    "grow 32MB 3",
    "hvo off",
    "grow 2MB 3",
    "hvo on",
    "grow 64KB 2",
    "overcommit 2MB 3",
    "demote 32MB 1",
    "shrink 2MB 5",
)
_UNSHRUNK = (Phase.explicit, Phase.generate)
"""Shrinking a failing example would take minutes, so it is disabled."""
EVERY = pytest.mark.parametrize("kernel", KERNELS.values(), ids=str)


def machine(kernel: Kernel, seed: int = 0) -> SimKernel:
    return SimKernel(
        kernel.generation,
        huge_page_sizes=SIZES,
        nodes=NODES,
        memory_per_node=256 * MIB,
        cpus_per_node=LAYOUT.cpus // NODES,
        seed=seed,
    )


def operate(sim: SimKernel, *operations: str) -> None:
    for text in operations:
        sim.operate(parse_operation(text))


def check_all(
    kernel: Kernel, lab: Lab, calls: Iterable[Call], *recorders: Recorder, flags: Sequence[str] = ()
) -> None:
    """Compare counters, durations and records in every variant."""
    encoded = encode(calls)
    for variant in variants(kernel):
        program = program_for(kernel, variant)
        events = list(chain(*(recorder.events[variant.mode] for recorder in recorders)))
        check(program, play(program, encoded, lab, flags=flags), events)


@EVERY
def test_every_pool_operation_is_counted_correctly(kernel: Kernel, lab: Lab) -> None:
    sim = machine(kernel)
    recorder = record(kernel, sim, lab.arena, cpus=wandering(1, LAYOUT.cpus))
    operate(sim, *OPERATIONS)
    kinds = {event.kind for event in recorder.events[FULL]}
    batches = {Kind.BATCH_ENTER, Kind.BATCH_EXIT}
    assert kinds | batches == set(Kind)
    check_all(kernel, lab, recorder.calls, recorder)


def test_operations_in_the_hash_are_counted_correctly(lab: Lab) -> None:
    """On arm64 every operation uses the hash instead of a task slot."""
    kernel = KERNELS["6.7"]
    sim = machine(kernel)
    recorder = record(kernel, sim, lab.arena)
    operate(sim, *OPERATIONS[:5])
    check_all(kernel, lab, recorder.calls, recorder, flags=("-UCONFIG_X86",))


@EVERY
@settings(max_examples=4, phases=_UNSHRUNK)
@given(
    workload=workloads,
    errnos=st.lists(st.sampled_from([ENOMEM, ENOTSUPP, 1, 22]), min_size=1, max_size=5),
)
def test_random_workloads_are_counted_correctly(
    kernel: Kernel, lab: Lab, workload: Workload, errnos: list[int]
) -> None:
    _, seed, actions = workload
    sim = machine(kernel, seed)
    cpus = wandering(seed, LAYOUT.cpus)
    recorder = record(kernel, sim, lab.arena, errnos=cycle(errnos), cpus=cpus)
    for action in actions:
        attempt(action, sim)
    check_all(kernel, lab, recorder.calls, recorder)


@EVERY
@pytest.mark.parametrize("apart", [100, 1024], ids=["separate slots", "shared slot"])
def test_interleaved_tasks_are_counted_correctly(kernel: Kernel, lab: Lab, apart: int) -> None:
    """The calls of three kernels, merged by time, act as three tasks of one kernel.

    Tasks whose thread ids differ by 1024 share a slot.
    """
    recorders = []
    for part in range(3):
        sim = machine(kernel, seed=part)
        cpus = wandering(part, LAYOUT.cpus)
        recorders.append(
            record(kernel, sim, lab.arena, part=part, first_pid=part * apart, cpus=cpus)
        )
        operate(sim, "grow 2MB 5", "grow 32MB 1", "shrink 2MB 3")
    calls = list(merge(*(recorder.calls for recorder in recorders), key=lambda call: call.now))
    turns = sum(one.task.pid != other.task.pid for one, other in pairwise(calls))
    assert turns > 300
    check_all(kernel, lab, calls, *recorders)


@pytest.mark.parametrize("generation", ["5.14", "6.2", "7.1"])
def test_a_gigantic_page_that_runs_out_of_memory_is_rolled_back(generation: str, lab: Lab) -> None:
    """Its vmemmap is mapped by eight huge PMDs; some are split and remapped, then rolled back."""
    kernel = KERNELS[generation]
    sim = SimKernel(generation, huge_page_sizes=(GIB,), memory_per_node=3 * GIB, hvo=False)
    recorder = record(kernel, sim, lab.arena)
    operate(sim, "grow 1GB 1")
    sim.hold_memory(0, leave=4)
    sim.machine.vmemmap_optimize_enabled = True
    (hstate,) = sim.machine.hstates
    optimize = (
        hugetlb_vmemmap_optimize_folio
        if GENERATIONS[generation].interface is PoolInterface.FOLIO_LISTS
        else free_huge_page_vmemmap
    )
    optimize(sim.machine, hstate, hstate.hugepage_freelists[0][0])
    *_, failure = recorder.events[FULL]
    assert (failure.kind, failure.ret, failure.ptes) == (Kind.OPTIMIZE_EXIT, -ENOMEM, 0)
    undone = [call for call in recorder.calls if call.symbol == "vmemmap_restore_pte"]
    assert len(undone) > 500
    sim.release_memory()
    optimize(sim.machine, hstate, hstate.hugepage_freelists[0][0])
    assert recorder.events[RANGE][-1].ptes >= 4094
    check_all(kernel, lab, recorder.calls, recorder)


def test_linux_6_2_without_memory_for_a_head_allocates_none(lab: Lab) -> None:
    kernel = KERNELS["6.2"]
    assert GENERATIONS["6.2"].head is HeadFrame.COPIED
    sim = SimKernel("6.2", huge_page_sizes=(2 * MIB,), memory_per_node=128 * MIB)
    recorder = record(kernel, sim, lab.arena)
    operate(sim, "grow 2MB 1")
    sim.hold_memory(0, leave=512)
    operate(sim, "grow 2MB 1")
    heads = [e.frames_allocated for e in recorder.events[FULL] if e.kind == Kind.OPTIMIZE_EXIT]
    assert heads == [1, 0]
    check_all(kernel, lab, recorder.calls, recorder)


@EVERY
def test_skips_have_an_unknown_reason_if_the_switch_is_hidden(kernel: Kernel, lab: Lab) -> None:
    """Skips because of the size keep their reason."""
    sim = machine(kernel)
    recorder = record(kernel, sim, lab.arena)
    operate(sim, "hvo off", "grow 2MB 2", "hvo on", "grow 64KB 2", "grow 2MB 1")

    def unknown(event: Event) -> Event:
        hidden = event.reason and event.order != 4
        return event._replace(reason=Reason.UNKNOWN) if hidden else event

    for variant in variants(kernel):
        program = program_for(kernel, variant)
        events = [unknown(event) for event in recorder.events[variant.mode]]
        found = play(program, encode(recorder.calls), lab, switch_shown=False)
        check(program, found, events)
