# SPDX-License-Identifier: Apache-2.0
"""Observations for tests: made by hand, or of a simulated kernel."""

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
OPTIMIZED = Slot("hugepages_optimized")
INFO = Info("bcc", "6.1.0-test", "full", 4096)
FINE = Status(True)
BLIND = Status(
    False,
    (ProbeStatus("optimize", False, reason="no kprobes"),),
    "this kernel has no kprobes",
)


def counted(**totals: int) -> Counters:
    """Set all slots of one size and node to 0 except ``totals``: ``family``, ``family__detail``."""
    given = {Slot(*name.split("__")): value for name, value in totals.items()}
    return Counters({(slot, SMALL): given.get(slot, 0) for slot in SLOTS})


def at(seconds: float, counters: Counters | None = None, *, status: Status = FINE) -> Observation:
    """Make an observation of probes only."""
    return Observation(int(seconds * 1e9), Probes(counters or Counters(), status))


def histogram(**buckets: int) -> Histogram:
    """Make a histogram from counts by bucket number: ``_3=5``."""
    counts = list(Histogram().counts)
    for name, count in buckets.items():
        counts[int(name[1:])] = count
    return Histogram(tuple(counts))


class Simulated:
    """A simulated kernel with its own clock, observed once a second."""

    def __init__(self, generation: str = "v17-enabled", nodes: int = 2) -> None:
        kernel = SimKernel(generation, nodes=nodes, memory_per_node=4 * GIB)
        self.backend = SimBackend(kernel)
        self.backend.start()
        self.now = 0.0
        self.history = History(self.observe())

    def observe(self) -> Observation:
        """Return an observation at the current time."""
        return replace(self.backend.observe(), time_ns=int(self.now * 1e9))

    def after(self, *operations: str) -> "Simulated":
        """Run the operations, each followed by an observation a second later."""
        for text in operations:
            self.backend.operate(parse_operation(text))
            self.now += 1
            self.history.add(self.observe())
        return self
