# SPDX-License-Identifier: Apache-2.0
"""What hypothesis draws: workloads, and a small machine with three sizes on two nodes."""

from hypothesis import strategies as st

from probes.geometry import KIB, MIB
from probes.operations import POOL_VERBS, SWITCH_VERB, Operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import ACTION_VERBS, Action
from sim_backend.scenario.perform import perform
from tests.sim_backend.harness import ALL

SIZES = (64 * KIB, 2 * MIB, 32 * MIB)
NODES = 2

Step = Operation | Action | int | None
"""An operation, or what else is done to a pool; or how many frames something else leaves free on
each node, None for all."""

Workload = tuple[str, int, list[Step]]
"""Generation, seed, and what to do."""

# Weighted by how much there is to be seen: most sequences must have something to give back.
CALM_VERBS = (
    *["grow"] * 6,
    *["shrink"] * 6,
    *["overcommit", "demote", "take", "give", "reserve", "unreserve"] * 2,
    *["hvo off", "hvo on"],
)
"""Verbs that need no more memory than there is."""
_VERBS = (*CALM_VERBS, "resize", "dissolve", *["pressure"] * 2, "no pressure")
NOT_DRAWN = ("fragment", "detach", "miss", "lose", "restart", "clock", "slow")
"""Verbs that do nothing to pools: frames are held by ``pressure``, the others disturb observers."""
_SIZES_DRAWN = (64 * KIB, *[2 * MIB] * 3, *[32 * MIB] * 3)


def verbs_drawn() -> set[str]:
    """First words of all that may be drawn."""
    return {verb.split()[-1] if "pressure" in verb else verb.split()[0] for verb in _VERBS}


def every_verb() -> set[str]:
    """First words of all that can be done to a machine."""
    return {*POOL_VERBS, SWITCH_VERB, *ACTION_VERBS}


def _step(verb: str, size: int, pages: int, leave: int) -> Step:
    if verb.startswith("hvo"):
        return Operation("hvo", on=verb == "hvo on")
    if verb.endswith("pressure"):
        return leave if verb == "pressure" else None
    if verb in POOL_VERBS:
        return Operation(verb, size, pages)
    return Action(verb, size=size, amount=pages)


def _steps(verbs: tuple[str, ...]) -> st.SearchStrategy[list[Step]]:
    step = st.builds(
        _step,
        st.sampled_from(verbs),
        st.sampled_from(_SIZES_DRAWN),
        st.integers(1, 9),
        st.integers(0, 3000),
    )
    return st.lists(step, min_size=4, max_size=14).map(
        lambda steps: [Operation("grow", 2 * MIB, 7), Operation("grow", 32 * MIB, 3), *steps]
    )


generations = st.sampled_from(ALL)
seeds = st.integers(0, 2**32 - 1)
workloads = st.tuples(generations, seeds, _steps(_VERBS))
calm_workloads = st.tuples(generations, seeds, _steps(CALM_VERBS))


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


def attempt(step: Step, kernel: SimKernel, backend: SimBackend | None = None) -> str:
    """Do one step, through ``backend`` if there is one; what a refusal says, or nothing."""
    if step is None or isinstance(step, int):
        press(kernel, step)
        return ""
    try:
        if backend is not None:
            backend.perform(step)
        else:
            perform(kernel, step)
    except OperationError as refusal:
        asked = step.pages if isinstance(step, Operation) else step.amount
        if step.verb != "resize":  # which asks for a size of the pool, not for pages
            assert 0 <= refusal.done < asked
        return str(refusal)
    return ""
