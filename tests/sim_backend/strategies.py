# SPDX-License-Identifier: Apache-2.0
"""What hypothesis draws: workloads, and a small machine with three sizes on two nodes."""

from hypothesis import strategies as st

from probes.geometry import KIB, MIB
from probes.operations import Operation
from sim_backend.kernel.sim_kernel import SimKernel
from tests.sim_backend.harness import ALL

SIZES = (64 * KIB, 2 * MIB, 32 * MIB)
NODES = 2

Step = Operation | int | None
"""An operation; or how many frames something else leaves free on each node, None for all."""

Workload = tuple[str, int, list[Step]]
"""Generation, seed, and what to do."""

# Weighted by how much there is to be seen: most sequences must have something to give back.
_VERBS = (
    *["grow"] * 6,
    *["shrink"] * 6,
    *["overcommit"] * 2,
    *["demote"] * 2,
    *["hvo off", "hvo on"],
    *["pressure"] * 2,
    "no pressure",
)
_SIZES_DRAWN = (64 * KIB, *[2 * MIB] * 3, *[32 * MIB] * 3)


def _step(verb: str, size: int, pages: int, leave: int) -> Step:
    if verb.startswith("hvo"):
        return Operation("hvo", on=verb == "hvo on")
    if verb.endswith("pressure"):
        return leave if verb == "pressure" else None
    return Operation(verb, size, pages)


_steps = st.builds(
    _step,
    st.sampled_from(_VERBS),
    st.sampled_from(_SIZES_DRAWN),
    st.integers(1, 9),
    st.integers(0, 3000),
)

generations = st.sampled_from(ALL)

workloads = st.tuples(
    generations,
    st.integers(0, 2**32 - 1),
    st.lists(_steps, min_size=4, max_size=14).map(
        lambda steps: [Operation("grow", 2 * MIB, 7), Operation("grow", 32 * MIB, 3), *steps]
    ),
)


def machine(generation: str, seed: int = 0) -> SimKernel:
    """256 MB on each node."""
    return SimKernel(
        generation, huge_page_sizes=SIZES, nodes=NODES, memory_per_node=256 * MIB, seed=seed
    )


def press(kernel: SimKernel, leave: int | None) -> None:
    """Leave so many frames free on each node; None gives all of them back."""
    kernel.release_memory()
    if leave is not None:
        for node in kernel.machine.memory.nodes:
            kernel.hold_memory(node.nid, min(leave, node.buddy.nr_free))
