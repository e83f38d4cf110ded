# SPDX-License-Identifier: Apache-2.0
"""A small simulated machine whose events are kept, and ways to look at it."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

from probes.counters import Counters, reduce
from probes.events import Event, Kind
from probes.geometry import GIB, MIB, Geometry
from probes.operations import parse_operation
from sim_backend.kernel.durations import Clock, Cost
from sim_backend.kernel.generation import GENERATIONS
from sim_backend.kernel.hstate import HugePage
from sim_backend.kernel.pagetable import Mapping as Translation
from sim_backend.kernel.sim_kernel import SimKernel

ALL = tuple(GENERATIONS)
OPTIMIZING = tuple(name for name in ALL if name != "v17")
LISTS = ALL[ALL.index("6.7") :]
"""Generations that optimise whole lists of huge pages."""

T = TypeVar("T")


def since(first: Mapping[str, T], but: Mapping[str, T] | None = None) -> dict[str, T]:
    """A value for each generation from the first one given: the last that was given before it.

    ``but`` has those of single generations, which do not last.
    """
    names = ALL[ALL.index(next(iter(first))) :]
    value = first[names[0]]
    values = {name: (value := first.get(name, value)) for name in names}
    return values | dict(but or {})


class CountingClock(Clock):
    """A clock that counts how often each step was spent."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.spent: Counter[Cost] = Counter()

    def spend(self, cost: Cost) -> None:
        self.spent[cost] += 1
        super().spend(cost)


class Traced:
    """A kernel and every event it ever emitted."""

    def __init__(
        self,
        generation: str = "v17-enabled",
        *,
        sizes: tuple[int, ...] = (2 * MIB,),
        nodes: int = 1,
        memory: int = 1 * GIB,
        geometry: Geometry | None = None,
        seed: int = 0,
        hvo: bool = True,
        clock: Clock | None = None,
        hugepages: Mapping[int, int] | None = None,
        self_hosted: Collection[int] = (),
        init_on_alloc: bool = False,
    ) -> None:
        self.events: list[Event] = []
        self.kernel = SimKernel(
            generation,
            geometry=geometry,
            huge_page_sizes=sizes,
            nodes=nodes,
            memory_per_node=memory,
            seed=seed,
            hvo=hvo,
            clock=clock,
            hugepages=hugepages,
            self_hosted=self_hosted,
            init_on_alloc=init_on_alloc,
            emit=self.events.append,
        )

    def run(self, *operations: str) -> "Traced":
        """Do the operations in turn, and check the accounting after each."""
        for text in operations:
            self.kernel.operate(parse_operation(text))
            self.kernel.check_conservation()
        return self

    def of(self, *kinds: Kind) -> list[Event]:
        """The events of some kinds."""
        return [event for event in self.events if event.kind in kinds]

    def counters(self) -> Counters:
        """All events reduced."""
        return reduce(self.events)

    def total(self, family: str, detail: str = "") -> int:
        """One total over sizes and nodes, 0 if nothing was counted."""
        return self.counters().total(family, detail) or 0

    def pages(self, size: int = 2 * MIB) -> list[HugePage]:
        """Free huge pages of one size."""
        machine = self.kernel.machine
        lists = next(h.hugepage_freelists for h in machine.hstates if h.size == size)
        return [page for free in lists for page in free]

    def vmemmap(self, page: HugePage, count: int = 8) -> list[Translation]:
        """What the first ``count`` vmemmap pages of ``page`` are mapped to."""
        machine = self.kernel.machine
        start = machine.page_to_vmemmap(page.pfn)
        step = machine.geometry.page_size
        return [machine.init_mm.translate(start + i * step) for i in range(count)]

    def is_free(self, pfn: int) -> bool:
        """Whether the buddy allocator has ``pfn`` to give."""
        runs = self.kernel.machine.memory.node_of(pfn).buddy.runs()
        return any(start <= pfn < end for start, end in runs)

    def free_frames(self, node: int = 0) -> int:
        """Free frames of a node."""
        return self.kernel.machine.memory.nodes[node].buddy.nr_free


def big(
    generation: str = "v17-enabled",
    *,
    nodes: int = 1,
    seed: int = 0,
    clock: Clock | None = None,
    hugepages: Mapping[int, int] | None = None,
    init_on_alloc: bool = False,
) -> Traced:
    """A machine that 1 GB pages fit into."""
    return Traced(
        generation,
        sizes=(2 * MIB, 1 * GIB),
        nodes=nodes,
        memory=4 * GIB,
        seed=seed,
        clock=clock,
        hugepages=hugepages,
        init_on_alloc=init_on_alloc,
    )
