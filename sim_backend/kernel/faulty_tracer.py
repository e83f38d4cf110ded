# SPDX-License-Identifier: Apache-2.0
"""A tracer whose probes can be taken away, or made to miss hits, while it runs."""

from collections import Counter

from probes.events import Reason
from sim_backend.kernel.durations import Clock
from sim_backend.kernel.tracing import Target, Task, Tracer

_PTE_STEPS = ("remap_pte", "restore_pte")


class FaultyTracer(Tracer):
    """As good as a ``Tracer`` until ``detach_probe`` or ``miss`` is called.

    A hit that no probe sees changes what the tracer remembers, as it does in the BPF program: a
    missed PTE makes its operation count one PTE and one frame less.
    """

    def __init__(self, clock: Clock, page_size: int, range_hook: str) -> None:
        """The same as for ``Tracer``."""
        super().__init__(clock, page_size, range_hook)
        self._hook = range_hook
        self._to_miss: Counter[str] = Counter()
        self.detached: frozenset[str] = frozenset()
        """Steps without a probe; other threads read it."""
        self.missed: Counter[str] = Counter()
        """Hits missed since ``attach`` or ``begin_anew``, by step."""
        self.whole = True
        """Whether every hit since then was seen, so that events and accounting must agree."""

    def detach(self) -> None:
        """Send no more events, and forget all faults."""
        super().detach()
        self.begin_anew()

    def begin_anew(self) -> None:
        """As if just attached, to the same listener: sequences from 0, no fault, nothing missed."""
        self._operation = self._batch = None
        self._sequence.clear()
        self.net_freed_frames = 0
        self._to_miss.clear()
        self.detached = frozenset()
        self.missed.clear()
        self.whole = True

    @property
    def takes_runs(self) -> bool:
        """Not while some PTEs will be missed."""
        return not any(step in self.detached or self._to_miss[step] for step in _PTE_STEPS)

    def detach_probe(self, step: str) -> None:
        """Take the probe of ``step`` away until a restart."""
        self.detached |= {step}

    def miss(self, step: str, hits: int) -> None:
        """Let the probe of ``step`` miss the next ``hits`` hits."""
        self._to_miss[step] += hits

    def batch_enter(self, task: Task, order: int) -> None:
        """As inherited, if seen."""
        if self._sees("batch"):
            super().batch_enter(task, order)

    def optimize_enter(self, task: Task, target: Target, reason: Reason) -> None:
        """As inherited, if seen."""
        if self._sees("optimize"):
            super().optimize_enter(task, target, reason)

    def restore_enter(self, task: Task, target: Target) -> None:
        """As inherited, if seen."""
        if self._sees("restore"):
            super().restore_enter(task, target)

    def vmemmap_remap_free(self, start: int, end: int, reuse: int) -> None:
        """As inherited, if seen."""
        if self._hook != "vmemmap_remap_free" or self._sees("remap_range"):
            super().vmemmap_remap_free(start, end, reuse)

    def vmemmap_remap_range(self, start: int, end: int, reuse_addr: int) -> None:
        """As inherited, if seen."""
        if self._hook != "vmemmap_remap_range" or self._sees("remap_range"):
            super().vmemmap_remap_range(start, end, reuse_addr)

    def vmemmap_remap_pte(self, addr: int) -> None:
        """As inherited, if seen."""
        if self._sees("remap_pte"):
            super().vmemmap_remap_pte(addr)

    def vmemmap_restore_pte(self, addr: int) -> None:
        """As inherited, if seen."""
        if self._sees("restore_pte"):
            super().vmemmap_restore_pte(addr)

    def _sees(self, step: str) -> bool:
        if step in self.detached:
            self.whole = False
            return False
        if self._to_miss[step]:
            self._to_miss[step] -= 1
            self.missed[step] += 1
            self.whole = False
            return False
        return True
