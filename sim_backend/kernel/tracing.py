# SPDX-License-Identifier: Apache-2.0
"""The hook points of the simulated kernel, and the tracer that a test of the real one attaches.

The tracer keeps its state from an operation's enter to its exit, by the rules of the BPF program
(probes/bpf/c/hvo.bpf.c). So its numbers come from the hooks, not from the accounting of the
simulated kernel, and the two can be held against each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from probes.events import VERSION, WITH_STACKS, Event, Kind, Reason
from sim_backend.kernel.call_chain import CallChains
from sim_backend.kernel.durations import Clock
from sim_backend.kernel.pte_run import PteRun

Emit = Callable[[Event], None]
"""Takes each event as it happens."""

EmitRun = Callable[[PteRun], None]
"""Takes the events of a run of PTEs, which carry no totals, all at once."""


class Task(NamedTuple):
    """Who runs: thread and process id, name (15 bytes at most) and CPU."""

    pid: int
    tgid: int
    comm: bytes
    cpu: int


class Outcome(NamedTuple):
    """What an exit event says beyond its target."""

    ret: int = 0
    ptes: int = 0
    frames_freed: int = 0
    frames_allocated: int = 0
    reason: int = 0
    duration_ns: int = 0


class Target(NamedTuple):
    """The huge page of an operation: its vmemmap [start, end), page order and node."""

    start: int
    end: int
    order: int
    node: int


_NO_OUTCOME = Outcome()


@dataclass(slots=True)
class _Operation:
    """What the tracer remembers of a task between enter and exit."""

    task: Task
    target: Target
    restoring: bool
    reason: Reason
    since_ns: int = 0
    ptes: int = 0
    ranges: int = 0
    head_remapped: int = 0
    stack: int = 0


class Tracer:
    """Turns hits of the hooks into events, for one listener."""

    def __init__(self, clock: Clock, page_size: int, range_hook: str) -> None:
        """``range_hook`` is the function whose arguments become REMAP_RANGE events."""
        self._clock = clock
        self._page_size = page_size
        self._range_hook = range_hook
        self._emit: Emit | None = None
        self._emit_run: EmitRun = self._emit_each
        self._operation: _Operation | None = None
        self._batch: _Operation | None = None
        self._sequence: dict[int, int] = {}
        self.chains: CallChains | None = None
        """Numbers the stacks of operations, if the listener wants them."""
        self.net_freed_frames = 0
        """Frames freed less frames allocated, by the events since ``attach``."""

    @property
    def takes_runs(self) -> bool:
        """Whether hits of a run of PTEs may come all at once."""
        return True

    def attach(self, emit: Emit, emit_run: EmitRun | None = None) -> None:
        """Send events to ``emit`` from now on, but those of runs of PTEs to ``emit_run``.

        Without ``emit_run``, ``emit`` gets those too, one by one. Raises ``ValueError`` when
        the kernel is traced already.
        """
        if self._emit is not None:
            raise ValueError("this kernel is being traced already")
        self._emit = emit
        self._emit_run = emit_run or self._emit_each
        self._sequence.clear()
        self.net_freed_frames = 0

    def detach(self) -> None:
        """Send no more events."""
        self._emit = None
        self._operation = self._batch = None

    def batch_enter(self, task: Task, order: int) -> None:
        """Entry of the function for a list of huge pages of one order, on any nodes."""
        self._batch = _Operation(task, Target(0, 0, order, -1), False, Reason.NONE)
        self._enter(self._batch, Kind.BATCH_ENTER)

    def batch_exit(self) -> None:
        """Return of the function for lists."""
        batch, self._batch = self._batch, None
        if batch is not None:
            self._exit(batch, Kind.BATCH_EXIT, Outcome(ptes=batch.ptes))

    def optimize_enter(self, task: Task, target: Target, reason: Reason) -> None:
        """Entry of the per-page function. ``reason`` holds if it turns out to do nothing."""
        self._operation = _Operation(task, target, False, reason)
        self._enter(self._operation, Kind.OPTIMIZE_ENTER)

    def restore_enter(self, task: Task, target: Target) -> None:
        """Entry of a restore."""
        self._operation = _Operation(task, target, True, Reason.NONE)
        self._enter(self._operation, Kind.RESTORE_ENTER)

    def vmemmap_remap_free(self, start: int, end: int, reuse: int) -> None:
        """Entry of vmemmap_remap_free."""
        self._range("vmemmap_remap_free", start, end, reuse)

    def vmemmap_remap_range(self, start: int, end: int, reuse_addr: int) -> None:
        """Entry of vmemmap_remap_range, with walk->reuse_addr (0 where there is no such field)."""
        self._range("vmemmap_remap_range", start, end, reuse_addr)

    def vmemmap_remap_pte(self, addr: int) -> None:
        """Entry of vmemmap_remap_pte."""
        operation = self._operation
        if operation is not None and not operation.restoring:
            if addr == operation.target.start:
                operation.head_remapped = 1
            self._pte(operation, Kind.REMAP_PTE, addr)

    def vmemmap_remap_ptes(self, addr: int, count: int, each_ns: int) -> None:
        """``count`` hits of ``vmemmap_remap_pte``, page after page, ``each_ns`` apart from now."""
        operation = self._operation
        if operation is not None and not operation.restoring:
            if addr == operation.target.start:
                operation.head_remapped = 1
            self._ptes(operation, Kind.REMAP_PTE, addr, count, each_ns)

    def vmemmap_restore_pte(self, addr: int) -> None:
        """Entry of vmemmap_restore_pte; inside an optimisation it is part of a roll-back."""
        operation = self._operation
        if operation is not None and operation.restoring:
            self._pte(operation, Kind.RESTORE_PTE, addr)

    def vmemmap_restore_ptes(self, addr: int, count: int, each_ns: int) -> None:
        """``count`` hits of ``vmemmap_restore_pte``, as in ``vmemmap_remap_ptes``."""
        operation = self._operation
        if operation is not None and operation.restoring:
            self._ptes(operation, Kind.RESTORE_PTE, addr, count, each_ns)

    def optimize_exit(self, ret: int) -> None:
        """Return of the per-page function; ``ret`` is 0 or a negative errno."""
        operation, self._operation = self._operation, None
        if operation is None:
            return
        if ret:
            outcome = Outcome(ret)
        elif operation.ptes:
            # Every remapped PTE leaves its old frame on the list of those to free.
            outcome = Outcome(ret, operation.ptes, operation.ptes, operation.head_remapped)
        else:
            outcome = Outcome(reason=operation.reason)
        if self._batch is not None:
            self._batch.ptes += outcome.ptes
        self._exit(operation, Kind.OPTIMIZE_EXIT, outcome)

    def restore_exit(self, ret: int) -> None:
        """Return of a restore; ``ret`` is 0 or a negative errno."""
        operation, self._operation = self._operation, None
        if operation is None:
            return
        ptes = 0 if ret else operation.ptes
        self._exit(operation, Kind.RESTORE_EXIT, Outcome(ret, ptes, 0, ptes))

    def _enter(self, operation: _Operation, kind: Kind) -> None:
        if self.chains is not None:
            operation.stack = self.chains.number(kind.name.lower().removesuffix("_enter"))
        where = (operation.target.start, operation.target.end, operation.stack)
        self._send(operation, kind, where)
        operation.since_ns = self._clock.now_ns

    def _range(self, symbol: str, start: int, end: int, reuse: int) -> None:
        operation = self._operation
        if operation is None or operation.restoring or symbol != self._range_hook:
            return
        operation.ranges += 1
        if operation.ranges == 1:  # a second range is the roll-back of the first
            self._send(operation, Kind.REMAP_RANGE, (start, end, reuse))

    def _pte(self, operation: _Operation, kind: Kind, addr: int) -> None:
        operation.ptes += 1
        self._send(operation, kind, (addr, addr + self._page_size, 0))

    def _ptes(self, operation: _Operation, kind: Kind, addr: int, count: int, each_ns: int) -> None:
        operation.ptes += count
        if self._emit is not None:
            first = self._event(operation, kind, (addr, addr + self._page_size, 0), count=count)
            self._emit_run(PteRun(first, count, each_ns))

    def _emit_each(self, run: PteRun) -> None:
        if self._emit is not None:
            for event in run.events():
                self._emit(event)

    def _exit(self, operation: _Operation, kind: Kind, outcome: Outcome) -> None:
        self.net_freed_frames += outcome.frames_freed - outcome.frames_allocated
        outcome = outcome._replace(duration_ns=self._clock.now_ns - operation.since_ns)
        target = operation.target
        self._send(operation, kind, (target.start, target.end, operation.stack), outcome)

    def _send(
        self,
        operation: _Operation,
        kind: Kind,
        where: tuple[int, int, int],
        outcome: Outcome = _NO_OUTCOME,
    ) -> None:
        if self._emit is not None:
            self._emit(self._event(operation, kind, where, outcome))

    def _event(
        self,
        operation: _Operation,
        kind: Kind,
        where: tuple[int, int, int],
        outcome: Outcome = _NO_OUTCOME,
        *,
        count: int = 1,
    ) -> Event:
        """The first of ``count`` events, for all of which sequence numbers are taken."""
        pid, tgid, comm, cpu = operation.task
        target = operation.target
        sequence = self._sequence.get(cpu, 0)
        self._sequence[cpu] = sequence + count
        start, end, reuse = where
        ret, ptes, freed, allocated, reason, duration_ns = outcome
        # By position: keywords would cost as much as all the rest.
        return Event(
            self._clock.now_ns,
            sequence,
            start,
            end,
            reuse,
            duration_ns,
            ret,
            pid,
            tgid,
            ptes,
            freed,
            allocated,
            cpu,
            target.node,
            kind,
            target.order,
            reason,
            VERSION if self.chains is None else WITH_STACKS,
            comm,
        )
