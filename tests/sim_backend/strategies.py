# SPDX-License-Identifier: Apache-2.0
"""What hypothesis draws: operations, and a small machine with three sizes on two nodes."""

from hypothesis import strategies as st

from probes.geometry import KIB, MIB
from probes.operations import Operation
from sim_backend.kernel import SimKernel
from tests.sim_backend.harness import ALL

SIZES = (64 * KIB, 2 * MIB, 32 * MIB)
NODES = 2

generations = st.sampled_from(ALL)

operations = st.one_of(
    st.builds(
        Operation,
        st.sampled_from(["grow", "shrink", "overcommit", "demote"]),
        st.sampled_from(SIZES),
        st.integers(1, 9),
    ),
    st.builds(Operation, st.just("hvo"), on=st.booleans()),
)

pressure = st.one_of(st.integers(0, 3000), st.none())
"""Free frames that are left on each node; None ends it."""

workloads = st.tuples(
    generations,
    st.integers(0, 2**32 - 1),
    st.lists(st.one_of(operations, operations, operations, pressure), max_size=12),
)
"""Generation, seed, and what to do."""


def machine(generation: str, seed: int = 0) -> SimKernel:
    """256 MB on each node."""
    return SimKernel(
        generation, huge_page_sizes=SIZES, nodes=NODES, memory_per_node=256 * MIB, seed=seed
    )
