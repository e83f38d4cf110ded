# SPDX-License-Identifier: Apache-2.0
"""The simulator against a second model, step by step, in memory that lasts."""

from collections import Counter

from hypothesis import assume, example, given, settings

from probes.counters import Reducer
from probes.events import Event
from probes.geometry import GIB, MIB
from probes.operations import Operation
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Action
from tests.sim_backend.kernel.model import GENERATIONS_MODELLED, Model
from tests.sim_backend.strategies import NODES, SIZES, Step, Workload, attempt, calm_workloads

COUNTED = {
    ("optimize_calls", ""): "optimize_calls",
    ("frames_freed", ""): "frames_freed",
    ("frames_allocated", "head"): "head",
    ("frames_allocated", "restore"): "restore",
}
WRONG_NODE: Workload = (
    "6.0",
    0,
    [
        Operation("grow", 32 * MIB, 3),
        Operation("grow", 2 * MIB, 1),
        Operation("demote", 32 * MIB, 1),
    ],
)
"""The cursors of allocations and of frees are at different nodes."""
IN_USE: Workload = (
    "6.2",
    0,
    [
        Action("take", size=2 * MIB, amount=5),
        Operation("grow", 32 * MIB, 1),
        Operation("demote", 32 * MIB, 1),
        Action("give", size=2 * MIB, amount=5),
    ],
)


class Watched:
    """A machine of 8 GB whose tasks run on node 0, and what can be compared of it."""

    def __init__(self, generation: str, seed: int) -> None:
        self.kernel = SimKernel(
            generation, huge_page_sizes=SIZES, nodes=NODES, memory_per_node=4 * GIB, seed=seed
        )
        self.kernel.pin(0)
        self._reducer = Reducer()
        self.kernel.attach(self._emit, lambda run: None)
        self._at_boot = self._occupied()

    def _emit(self, event: Event) -> None:
        self._reducer.add([event])

    def _occupied(self) -> list[int]:
        """Frames of each node that are neither free nor page tables nor shared tails."""
        m = self.kernel.machine
        known = [*m.init_mm.table_frames(), *(page.pfn for page in m.vmemmap_tails.values())]
        on = Counter(m.memory.node_of(pfn).nid for pfn in known)
        return [n.end - n.start - n.buddy.nr_free - on[n.nid] for n in m.memory.nodes]

    def occupied(self) -> list[int]:
        """Frames of each node that huge pages and struct pages took since boot."""
        return [now - before for now, before in zip(self._occupied(), self._at_boot, strict=True)]

    def pools(self) -> dict[tuple[int, int, str], int]:
        """Pages by order, node and state."""
        orders = {h.size: h.order for h in self.kernel.machine.hstates}
        return {(orders[p.size], p.node, p.state): p.pages for p in self.kernel.pools().by_node}

    def counts(self) -> Counter[tuple[str, int, int]]:
        """The counters that the model has, where they are not 0."""
        totals = self._reducer.snapshot().totals
        return Counter(
            {
                (COUNTED[slot], key.order, key.node): count
                for (slot, key), count in totals.items()
                if slot in COUNTED and count
            }
        )


def follow(model: Model, step: Step) -> None:
    """Do to the model what ``step`` does to the machine."""
    assert isinstance(step, Operation | Action)
    if isinstance(step, Operation) and step.verb == "hvo":
        model.hvo(step.on)
        return
    order = (step.size // 4096).bit_length() - 1
    pages = step.pages if isinstance(step, Operation) else int(step.amount)
    if step.verb != "shrink" or pages <= model.pools[order].persistent:
        getattr(model, step.verb)(order, pages)


def pools_of(model: Model) -> dict[tuple[int, int, str], int]:
    return {
        (order, node, state): pages
        for order, pool in model.pools.items()
        for node in range(NODES)
        for state, pages in (
            ("total", pool.total(node)),
            ("free", len(pool.free[node])),
            ("surplus", pool.surplus[node]),
        )
    }


def occupied_in(model: Model) -> list[int]:
    return [
        sum(pool.total(node) << order for order, pool in model.pools.items()) - model.saved[node]
        for node in range(NODES)
    ]


@settings(max_examples=60, deadline=None)
@given(workload=calm_workloads)
@example(workload=WRONG_NODE)
@example(workload=("6.11", *WRONG_NODE[1:]))
@example(workload=IN_USE)
def test_pools_counters_and_frames_of_each_node_are_those_of_a_second_model(
    workload: Workload,
) -> None:
    generation, seed, todo = workload
    assume(generation in GENERATIONS_MODELLED)
    watched = Watched(generation, seed)
    orders = tuple(h.order for h in watched.kernel.machine.hstates)
    model = Model(generation, orders, NODES)
    for step in todo:
        attempt(step, watched.kernel)
        follow(model, step)
        assert watched.pools() == pools_of(model), step
        assert watched.counts() == +model.counts, step
        assert watched.occupied() == occupied_in(model), step
