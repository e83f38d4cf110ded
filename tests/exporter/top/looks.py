# SPDX-License-Identifier: Apache-2.0
"""Looks for tests: made by hand, or at a simulated kernel."""

from dataclasses import replace

from exporter.top.history import History
from probes.backend import Info
from probes.counters import SLOTS, Counters, Histogram, PageKey, Slot
from probes.geometry import GIB
from probes.observation import Observation, Probes, ProbeStatus, Status
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel

SMALL = PageKey(9, 0)
OPTIMISED = Slot("hugepages_optimized")
INFO = Info("bcc", "6.1.0-test", "full", 4096)
FINE = Status(True)
BLIND = Status(
    False,
    (ProbeStatus("optimize", False, reason="no kprobes"),),
    "this kernel has no kprobes",
)


def counted(**totals: int) -> Counters:
    """All slots of one size and node at 0, but for ``totals``: ``family`` or ``family__detail``."""
    given = {Slot(*name.split("__")): value for name, value in totals.items()}
    return Counters({(slot, SMALL): given.get(slot, 0) for slot in SLOTS})


def at(seconds: float, counters: Counters | None = None, *, status: Status = FINE) -> Observation:
    """An observation of probes only."""
    return Observation(int(seconds * 1e9), Probes(counters or Counters(), status))


def histogram(**buckets: int) -> Histogram:
    """Counts by bucket number: ``_3=5``."""
    counts = list(Histogram().counts)
    for name, count in buckets.items():
        counts[int(name[1:])] = count
    return Histogram(tuple(counts))


class Simulated:
    """A simulated kernel that is looked at once a second of a clock of its own."""

    def __init__(self, generation: str = "v17-enabled", nodes: int = 2) -> None:
        kernel = SimKernel(generation, nodes=nodes, memory_per_node=4 * GIB)
        self.backend = SimBackend(kernel)
        self.backend.start()
        self.now = 0.0
        self.history = History(self.look())

    def look(self) -> Observation:
        """Observe now."""
        return replace(self.backend.observe(), time_ns=int(self.now * 1e9))

    def after(self, *operations: str) -> "Simulated":
        """Do the operations, a second and a look after each."""
        for text in operations:
            self.backend.operate(parse_operation(text))
            self.now += 1
            self.history.add(self.look())
        return self
