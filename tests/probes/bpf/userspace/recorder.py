# SPDX-License-Identifier: Apache-2.0
"""Records the calls of kernel functions of a simulated kernel, as probes would see them.

The simulator reports the entries of its functions. The recorder adds the rest by the rules of the
kernel's C: which function calls which, when a range walk returns, and the walk's memory.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import ENOMEM
from itertools import repeat
from random import Random
from typing import NamedTuple

from probes.backend import FULL, RANGE
from probes.events import Event, Reason
from sim_backend.kernel.durations import Clock
from sim_backend.kernel.faulty_tracer import FaultyTracer
from sim_backend.kernel.generation import GENERATIONS
from sim_backend.kernel.pagetable import VMEMMAP_START
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.kernel.tracing import Target, Task, Tracer
from tests.probes.bpf.userspace.kernels import (
    BATCH,
    DO_EXIT,
    HSTATE_ORDER,
    NODES_SHIFT,
    OPTIMIZE_FOLIO_PART,
    PAGE_FLAGS,
    REMAP_FREE,
    REMAP_PTE,
    REMAP_RANGE,
    RESTORE_PTE,
    SINGLE_FOLIO,
    Kernel,
)

GARBAGE = 0x5A5A5A5A
"""Upper half of the register in which an int is returned."""
VOID = (GARBAGE << 32) | (2**32 - 12)
"""Value of the return register after a void function; looks like -ENOMEM."""
_NOISE = (1 << (64 - NODES_SHIFT)) - 1
_WORD = 8
_CALLER_NS = 70
"""Time between the return of a function and that of its caller."""


class Arena:
    """Simulated kernel memory: struct pages, hstates, walks and the switch.

    Each part has its own struct pages and walks, for kernels that run interleaved.
    """

    SIZE = 512 << 20
    PARTS = 15
    _HSTATES, _SWITCH, _PAGES = 4096, 16384, 65536
    _PART = 32 << 20

    def __init__(self) -> None:
        """Reserve address space; memory is allocated on write."""
        self._memory = mmap.mmap(-1, self.SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.switch = self.address + self._SWITCH
        for order in range(32):
            at = self.hstate(order) + HSTATE_ORDER - self.address
            self._memory[at : at + 4] = order.to_bytes(4, "little")

    def hstate(self, order: int) -> int:
        """Return the address of the struct hstate of ``order``."""
        return self.address + self._HSTATES + 256 * order

    def walks(self, part: int) -> tuple[int, int]:
        """Return the addresses of struct vmemmap_remap_walk of a range and of its roll-back."""
        return self.address + 128 * part, self.address + 128 * part + 64

    def vmemmap(self, address: int, part: int) -> int:
        """Translate an address in the simulator's vmemmap to one in this memory."""
        return address - VMEMMAP_START + self.address + self._PAGES + part * self._PART


class Write(NamedTuple):
    """Change of memory before a call."""

    address: int
    value: int
    size: int = _WORD


@dataclass(slots=True)
class Call:
    """Entry or return of a function."""

    symbol: str
    at_return: bool
    now: int
    task: Task
    arguments: tuple[int, ...] = ()
    result: int = 0
    writes: list[Write] = field(default_factory=list)
    dropped: bool = False
    """The kernel drops the return, because all kretprobes are in use."""
    tail: bool = False
    """Tail call from a function with a kretprobe, so it returns to the same trampoline."""


@dataclass(slots=True)
class _Range:
    """A walk that is running."""

    entry: Call
    start: int
    walk: int
    has_page: bool
    """The walk has a page for the head, or to reuse, from its beginning."""
    is_rollback: bool
    ptes: int = 0


class Recorder(FaultyTracer):
    """Replaces the tracer of a simulated kernel.

    Addresses are translated to ``part`` of ``arena``. ``errnos`` has one errno per operation, which
    is used if it fails. ``cpus`` returns the CPU of each call, ``drops`` whether its return is
    dropped. Process ids start at ``first_pid``.
    """

    def __init__(
        self,
        kernel: Kernel,
        clock: Clock,
        page_size: int,
        arena: Arena,
        *,
        errnos: Iterator[int] | None = None,
        cpus: Callable[[int], int] = lambda cpu: cpu,
        drops: Callable[[], bool] = lambda: False,
        first_pid: int = 0,
        part: int = 0,
    ) -> None:
        hook = GENERATIONS[kernel.generation].symbols["remap_range"]
        super().__init__(clock, page_size, hook)
        self.calls: list[Call] = []
        self.events: Mapping[str, list[Event]] = {FULL: [], RANGE: []}
        """Expected events by mode, which determines the reported range function."""
        self._observers = {
            FULL: Tracer(clock, page_size, hook),
            RANGE: Tracer(clock, page_size, REMAP_RANGE),
        }
        for mode, observer in self._observers.items():
            observer.attach(self._keep(mode))
        self._kernel = kernel
        self._clock = clock
        self._arena, self._part, self._walks_at = arena, part, arena.walks(part)
        self._errnos = errnos or repeat(ENOMEM)
        self._cpus, self._drops = cpus, drops
        self._first_pid = first_pid
        self._task = Task(0, 0, b"", 0)
        self._cpu = 0
        self._walk: _Range | None = None
        self._walks = 0
        self._open: list[Call] = []
        """Entries without a return so far, except walks and PTEs."""
        self._in_batch = False
        self._error = 0
        self._switch = Write(arena.switch, 1, 1)
        self._target = Target(0, 0, 0, 0)

    @property
    def takes_runs(self) -> bool:
        """Whether runs of PTEs are accepted; here every PTE is a call."""
        return False

    def batch_enter(self, task: Task, order: int) -> None:
        """Record the start of a list of huge pages."""
        self._begin(task)
        for observer in self._observers.values():
            observer.batch_enter(self._task, order)
        self._in_batch = True
        self._enters(BATCH, self._arena.hstate(order), 1)

    def batch_exit(self) -> None:
        """Record the end of a list of huge pages."""
        self._next_cpu()
        self._leave(BATCH, 0)
        self._in_batch = False
        for observer in self._observers.values():
            observer.batch_exit()

    def optimize_enter(self, task: Task, target: Target, reason: Reason) -> None:
        """Record the entry of the per-page function, and set the switch according to ``reason``."""
        self._begin(task)
        self._error = next(self._errnos)
        self._target = self._moved(target)
        for observer in self._observers.values():
            observer.optimize_enter(self._task, self._target, reason)
        single = self._kernel.is_split and not self._in_batch
        if single:
            self._enter_page(SINGLE_FOLIO, reason != Reason.OFF)
        if not single or not self._kernel.calls_part_directly:
            self._enter_page(self._kernel.optimize, reason != Reason.OFF)

    def optimize_exit(self, ret: int) -> None:
        """Record its return, preceded by that of ``.part`` if it was called."""
        self._next_cpu()
        ret = -self._error if ret else 0
        self._leave_range(ret)
        if self._open[-1].symbol == REMAP_FREE:
            self._leave(REMAP_FREE, ret)
        if ret:
            self._go_on()
        if self._open[-1].symbol == OPTIMIZE_FOLIO_PART:
            self._leave(OPTIMIZE_FOLIO_PART, ret)
        leave = self._leave(self._open[-1].symbol, ret)
        leave.writes += [self._switch, *self._dead_walks()]
        if self._open and self._open[-1].symbol == SINGLE_FOLIO:
            self._clock.now_ns += _CALLER_NS
            self._leave(SINGLE_FOLIO, ret)
        for observer in self._observers.values():
            observer.optimize_exit(ret)

    def restore_enter(self, task: Task, target: Target) -> None:
        """Record the entry of the restore function."""
        self._begin(task)
        self._error = next(self._errnos)
        self._target = self._moved(target)
        for observer in self._observers.values():
            observer.restore_enter(self._task, self._target)
        self._enter_page(self._kernel.restore, True)

    def restore_exit(self, ret: int) -> None:
        """Record its return."""
        self._next_cpu()
        ret = -self._error if ret else 0
        self._leave_range(ret)
        self._leave(self._kernel.restore, ret).writes += self._dead_walks()
        for observer in self._observers.values():
            observer.restore_exit(ret)

    def vmemmap_remap_free(self, start: int, end: int, reuse: int) -> None:
        """Record its entry if the kernel has the function; since 6.0 it is inlined."""
        start, end, reuse = map(self._at, (start, end, reuse))
        self._next_cpu()
        for observer in self._observers.values():
            observer.vmemmap_remap_free(start, end, reuse)
        if REMAP_FREE in self._kernel.functions:
            self._enters(REMAP_FREE, start, end, reuse)

    def vmemmap_remap_range(self, start: int, end: int, reuse_addr: int) -> None:
        """Record a walk: of an operation's range, of its roll-back, or to split PMDs."""
        start, end = self._at(start), self._at(end)
        reuse_addr = self._at(reuse_addr) if reuse_addr else 0
        self._next_cpu()
        for observer in self._observers.values():
            observer.vmemmap_remap_range(start, end, reuse_addr)
        self._leave_range(-self._error)  # a walk followed by another one has failed
        self._go_on()
        walk = self._walks_at[self._walks > 0]
        restoring = bool(self._open) and self._open[-1].symbol == self._kernel.restore
        entry = self._call(REMAP_RANGE, False, start, end, walk)
        entry.dropped = self._drops()
        has_page = self._kernel.remaps_head and not self._walks and not restoring
        self._walk = _Range(entry, start, walk, has_page, is_rollback=self._walks > 0)
        if self._kernel.walk.reuse_addr >= 0:
            entry.writes.append(Write(walk + self._kernel.walk.reuse_addr, reuse_addr))
        self._walks += 1

    def vmemmap_remap_pte(self, addr: int) -> None:
        """Record one PTE of a walk."""
        addr = self._at(addr)
        self._next_cpu()
        for observer in self._observers.values():
            observer.vmemmap_remap_pte(addr)
        self._one_pte(REMAP_PTE, addr)

    def vmemmap_restore_pte(self, addr: int) -> None:
        """Record one PTE of a restore or a roll-back."""
        addr = self._at(addr)
        self._next_cpu()
        for observer in self._observers.values():
            observer.vmemmap_restore_pte(addr)
        self._one_pte(RESTORE_PTE, addr)

    def _keep(self, mode: str) -> Callable[[Event], None]:
        return lambda event: self.events[mode].append(event._replace(cpu=self._cpu))

    def _begin(self, task: Task) -> None:
        if not self._open:
            self._leave_range(0)
            self._walks = 0
        pid = task.pid + self._first_pid
        self._task = task._replace(pid=pid, tgid=pid - pid % 7)
        self._next_cpu()

    def _next_cpu(self) -> None:
        """Select the CPU of the next call."""
        self._cpu = self._cpus(self._task.cpu)

    def _moved(self, target: Target) -> Target:
        return target._replace(start=self._at(target.start), end=self._at(target.end))

    def _at(self, address: int) -> int:
        return self._arena.vmemmap(address, self._part)

    def _enter_page(self, symbol: str, on: bool) -> None:
        self._leave_range(0)  # of the batch, which split PMDs
        self._walks = 0
        head, node, order = self._target.start, self._target.node, self._target.order
        entry = self._enters(symbol, self._arena.hstate(order), head, 1, 1)
        flags = (node << (64 - NODES_SHIFT)) | _NOISE
        self._switch = Write(self._arena.switch, int(on), 1)
        entry.writes += [Write(head + PAGE_FLAGS, flags), self._switch]

    def _go_on(self) -> None:
        """Enter ``.part``, after the inlined first lines or from the split function."""
        entry = self._open[-1] if self._open else None
        if not self._kernel.is_split or entry is None or self._walks:
            return
        if entry.symbol in (self._kernel.optimize, SINGLE_FOLIO):
            whole = entry.symbol == self._kernel.optimize
            part = self._enters(OPTIMIZE_FOLIO_PART, *entry.arguments)
            part.tail = whole and not entry.dropped

    def _enters(self, symbol: str, *arguments: int) -> Call:
        entry = self._call(symbol, False, *arguments)
        entry.dropped = self._drops()
        self._open.append(entry)
        return entry

    def _leave(self, symbol: str, ret: int) -> Call:
        entry = self._open.pop()
        assert entry.symbol == symbol
        result = _int(ret) if self._kernel.functions[symbol].returns else VOID
        leave = self._call(symbol, True, *entry.arguments, result=result)
        leave.dropped = entry.dropped
        return leave

    def end_task(self) -> None:
        """Record the end of the task."""
        self._call(DO_EXIT, False, 0)

    def _leave_range(self, ret: int) -> None:
        done, self._walk = self._walk, None
        if done is None:
            return
        walk, has_page = self._kernel.walk, done.has_page
        page = self._arena.address
        leave = self._call(REMAP_RANGE, True, *done.entry.arguments)
        leave.dropped = done.entry.dropped
        if walk.nr_walked >= 0:
            walked = done.ptes + (walk.skips and not has_page and done.ptes > 0)
            done.entry.writes.append(Write(done.walk + walk.nr_walked, 0))
            leave.writes.append(Write(done.walk + walk.nr_walked, walked))
        done.entry.writes.append(Write(done.walk + walk.head, page if has_page else 0))
        if self._kernel.functions[REMAP_RANGE].returns:
            leave.result = _int(0 if done.is_rollback else ret)
        if walk.skips:  # taken from the first PTE
            leave.writes.append(Write(done.walk + walk.head, page))

    def _one_pte(self, symbol: str, addr: int) -> None:
        walk = self._walk
        assert walk is not None
        if not walk.ptes and self._kernel.walk.skips:
            walk.has_page = addr == walk.start
        walk.ptes += 1
        self._call(symbol, False, 1, addr, walk.walk)

    def _dead_walks(self) -> list[Write]:
        """Overwrite the stack memory of the walks, which is reused after the return."""
        return [
            Write(walk + at, 2**64 - 3) for walk in self._walks_at for at in range(0, 64, _WORD)
        ]

    def _call(self, symbol: str, at_return: bool, *arguments: int, result: int = VOID) -> Call:
        task = self._task._replace(cpu=self._cpu)
        call = Call(symbol, at_return, self._clock.now_ns, task, arguments, result)
        self.calls.append(call)
        return call


def record(kernel: Kernel, sim: SimKernel, arena: Arena, **options: object) -> Recorder:
    """Attach a recorder to ``sim``."""
    machine = sim.machine
    recorder = Recorder(kernel, machine.clock, machine.geometry.page_size, arena, **options)  # type: ignore[arg-type]
    machine.trace = recorder
    return recorder


def wandering(seed: int, cpus: int) -> Callable[[int], int]:
    """Return a function that moves a fifth of the calls to a random CPU."""
    random = Random(seed)  # noqa: S311 - picks CPUs, not secrets
    return lambda cpu: random.randrange(cpus) if random.random() < 0.2 else cpu


def _int(value: int) -> int:
    """Return an int as a register holds it, with garbage in the upper half."""
    return (GARBAGE << 32) | (value & 0xFFFFFFFF)
