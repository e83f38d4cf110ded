# SPDX-License-Identifier: Apache-2.0
"""What can't be done is said in one line, and nothing moves."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from probes.geometry import GIB, KIB, MIB, Geometry
from probes.operations import Operation
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.sim_kernel import SimKernel
from tests.sim_backend.harness import Traced


@dataclass
class Case:
    operation: Operation
    message: str
    before: tuple[str, ...] = field(default=())


@pytest.mark.parametrize(
    "case",
    [
        Case(
            Operation("shrink", 2 * MIB, 6), "shrink 2MB 6: the pool has 5 pages", ("grow 2MB 5",)
        ),
        Case(Operation("grow", 4 * MIB, 1), "grow 4MB 1: this kernel has huge pages of 2MB, 32MB"),
        Case(Operation("grow", 2 * MIB, 0), "the count must be above 0"),
        Case(Operation("shrink", 2 * MIB, -1), "the count must be above 0"),
        Case(Operation("demote", 32 * MIB, 1), "demote 32MB 1: the pool has 0 free pages"),
        Case(Operation("demote", 2 * MIB, 1), "no smaller size", ("grow 2MB 1",)),
        Case(Operation("compact"), "unknown operation 'compact'"),
    ],
    ids=lambda case: str(case.operation),
)
def test_operations(case: Case) -> None:
    traced = Traced(sizes=(2 * MIB, 32 * MIB)).run(*case.before)
    events, accounts = list(traced.events), traced.kernel.accounts()
    with pytest.raises(OperationError, match=case.message) as failure:
        traced.kernel.operate(case.operation)
    assert failure.value.done == 0
    assert (traced.events, traced.kernel.accounts()) == (events, accounts)


def test_how_much_was_done() -> None:
    kernel = SimKernel(memory_per_node=2 * GIB)
    assert kernel.operate(Operation("grow", 2 * MIB, 23)) == 23
    assert kernel.operate(Operation("shrink", 2 * MIB, 5)) == 5
    assert kernel.operate(Operation("overcommit", 2 * MIB, 3)) == 3
    assert kernel.operate(Operation("hvo", on=False)) == 0


def test_the_smallest_machine() -> None:
    kernel = SimKernel(cpus_per_node=1, memory_per_node=128 * MIB, huge_page_sizes=(8 * KIB,))
    assert kernel.operate(Operation("grow", 8 * KIB, 3)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generation": "4.19"}, "kernel 4.19 has no HVO .expected 5.14 or newer"),
        ({"generation": "5.14", "self_hosted": [0]}, "5.14 has no memmap_on_memory beside HVO"),
        ({"generation": "6.8", "self_hosted": [1]}, "on nodes .1. of 1"),
        ({"hugepages": {3 << 20: 1}}, "hugepages= of sizes that this machine does not have"),
        ({"nodes": 0}, "at least one node"),
        ({"cpus_per_node": 0}, "a CPU on each"),
        ({"memory_per_node": 100 * MIB}, "multiple of 128MB"),
        ({"memory_per_node": 0}, "multiple of 128MB"),
        ({"huge_page_sizes": ()}, "at least one huge page size"),
        ({"huge_page_sizes": (2 * MIB, 2 * MIB)}, "each only once"),
        ({"huge_page_sizes": (4 * KIB,)}, "larger than a base page"),
        ({"huge_page_sizes": (3 * MIB,)}, "power-of-two multiple"),
        ({"geometry": Geometry(64 * KIB, 56), "memory_per_node": 128 * MIB}, "whole pages"),
        ({"geometry": Geometry(4 * KIB, 4 * KIB)}, "does not fit"),
    ],
)
def test_machines(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimKernel(**options)
