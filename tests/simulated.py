# SPDX-License-Identifier: Apache-2.0
"""What the simulator does with the operations of a golden trace.

They are actions of scenarios, and `fail 10 2`: in the next operation 10 allocations of single
frames pass, and the two after them fail. More numbers are more turns of both.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from probes.events import CanonicalEvent, Event, canonical
from probes.geometry import GIB, parse_size
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.fail_page_alloc import FailPageAlloc
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import parse_action
from sim_backend.scenario.perform import perform


@dataclass(frozen=True)
class Setup:
    """What the simulator must be told to do the same."""

    generation: str
    operations: tuple[str, ...]
    nodes: int = 2
    memory_per_node: int = 6 * GIB
    hvo: bool = False
    """The switch before the first operation."""
    cpu: int = 0
    """On which the tasks ran: pages that a fault brings in come from its node."""
    held_nodes: tuple[int, ...] = ()
    """Nodes that have no free GB in one piece: a guest's memory is not all alike."""
    hugepages: tuple[str, ...] = ()
    """Of the command line: `2MB 23`."""
    memmap_pages: tuple[int, ...] = ()
    """nr_memmap_pages + nr_memmap_boot_pages of /proc/vmstat: at first and after each operation;
    empty before Linux 6.11."""


@dataclass
class Simulation:
    """One run; ``memmap_pages`` is whole after the last event."""

    setup: Setup
    memmap_pages: list[int] = field(default_factory=list)

    def events(self) -> Iterator[tuple[str, CanonicalEvent]]:
        """Each event, and the operation in which it came."""
        setup, events = self.setup, list[Event]()
        kernel = SimKernel(
            setup.generation,
            nodes=setup.nodes,
            memory_per_node=setup.memory_per_node,
            hvo=setup.hvo,
            hugepages={parse_size(one.split()[0]): int(one.split()[1]) for one in setup.hugepages},
            emit=events.append,
        )
        kernel.pin(setup.cpu)
        for node in setup.held_nodes:
            kernel.hold_memory(node, leave=GIB // 2 // 4096)
        self.memmap_pages.append(sum(kernel.memmap_pages().values()))
        for operation in setup.operations:
            events.clear()
            with suppress(OperationError):  # done in part: the events say what
                _do(kernel, operation)
            self.memmap_pages.append(sum(kernel.memmap_pages().values()))
            for event in canonical(events):
                yield operation, event


def _do(kernel: SimKernel, operation: str) -> None:
    verb, *counts = operation.split()
    if verb == "fail":
        kernel.machine.memory.fail_page_alloc = FailPageAlloc(*map(int, counts))
        return
    try:
        perform(kernel, parse_action(operation))
    finally:
        kernel.machine.memory.fail_page_alloc = FailPageAlloc()
