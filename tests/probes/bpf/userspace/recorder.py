# SPDX-License-Identifier: Apache-2.0
"""The calls of kernel functions that the simulated kernel makes, as probes would meet them.

The simulator says when its functions are entered. What it leaves out is added here by the rules of
the C: who calls whom, when a range walk returns, and what stands in the walk's memory.
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
"""Upper half of the register that an int is returned in."""
VOID = (GARBAGE << 32) | (2**32 - 12)
"""What the register holds when a function that returns nothing has returned: it looks like
-ENOMEM."""
_NOISE = (1 << (64 - NODES_SHIFT)) - 1
_WORD = 8
_CALLER_NS = 70
"""What a caller does after its callee has returned."""


class Arena:
    """Kernel memory: struct pages, hstates, walks and the switch, at addresses that can be read.

    Each of its parts has struct pages and walks of its own, for kernels that run side by side.
    """

    SIZE = 512 << 20
    PARTS = 15
    _HSTATES, _SWITCH, _PAGES = 4096, 16384, 65536
    _PART = 32 << 20

    def __init__(self) -> None:
        """Take address space; memory only where it is written to."""
        self._memory = mmap.mmap(-1, self.SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.switch = self.address + self._SWITCH
        for order in range(32):
            at = self.hstate(order) + HSTATE_ORDER - self.address
            self._memory[at : at + 4] = order.to_bytes(4, "little")

    def hstate(self, order: int) -> int:
        """Address of the struct hstate of ``order``."""
        return self.address + self._HSTATES + 256 * order

    def walks(self, part: int) -> tuple[int, int]:
        """Addresses of two struct vmemmap_remap_walk: for a range, and for its roll-back."""
        return self.address + 128 * part, self.address + 128 * part + 64

    def vmemmap(self, address: int, part: int) -> int:
        """Where what the simulator has at ``address`` of its vmemmap is here."""
        return address - VMEMMAP_START + self.address + self._PAGES + part * self._PART


class Write(NamedTuple):
    """Memory that changes before a call."""

    address: int
    value: int
    size: int = _WORD


@dataclass(slots=True)
class Call:
    """A function is entered, or returns."""

    symbol: str
    at_return: bool
    now: int
    task: Task
    arguments: tuple[int, ...] = ()
    result: int = 0
    writes: list[Write] = field(default_factory=list)
    dropped: bool = False
    """No kretprobe sees the return: the kernel had none to spare."""
    tail: bool = False
    """Jumped to by a function whose return is seen, so that it returns to the same trampoline."""


@dataclass(slots=True)
class _Range:
    """A walk that has been entered and has not returned."""

    entry: Call
    start: int
    walk: int
    given: bool
    """A page for the head, or to reuse, stands in the walk from its beginning."""
    undoes: bool
    ptes: int = 0


class Recorder(FaultyTracer):
    """Takes the place of a simulated kernel's tracer.

    Addresses are made those of ``arena``, of which ``part`` is the recorder's. ``errnos`` are what
    failing operations fail with, one for each operation; ``cpus`` says where each call runs,
    ``drops`` whether its return is dropped. Process ids are counted on from ``first_pid``.
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
        """By mode: which range function's arguments are shown depends on it."""
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
        """Entries whose return has not come, but for walks and PTEs."""
        self._in_batch = False
        self._error = 0
        self._switch = Write(arena.switch, 1, 1)
        self._target = Target(0, 0, 0, 0)

    @property
    def takes_runs(self) -> bool:
        """Each PTE is a call."""
        return False

    def batch_enter(self, task: Task, order: int) -> None:
        """A list of huge pages."""
        self._begin(task)
        for observer in self._observers.values():
            observer.batch_enter(self._task, order)
        self._in_batch = True
        self._enters(BATCH, self._arena.hstate(order), 1)

    def batch_exit(self) -> None:
        """It is done."""
        self._step()
        self._leave(BATCH, 0)
        self._in_batch = False
        for observer in self._observers.values():
            observer.batch_exit()

    def optimize_enter(self, task: Task, target: Target, reason: Reason) -> None:
        """The per-page function; the switch is what ``reason`` says."""
        self._begin(task)
        self._error = next(self._errnos)
        self._target = self._moved(target)
        for observer in self._observers.values():
            observer.optimize_enter(self._task, self._target, reason)
        single = self._kernel.parted and not self._in_batch
        if single:
            self._enter_page(SINGLE_FOLIO, reason != Reason.OFF)
        if not single or not self._kernel.goes_past:
            self._enter_page(self._kernel.optimize, reason != Reason.OFF)

    def optimize_exit(self, ret: int) -> None:
        """It returns; the one that GCC made of its second part first, if it got that far."""
        self._step()
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
        """Restore one page."""
        self._begin(task)
        self._error = next(self._errnos)
        self._target = self._moved(target)
        for observer in self._observers.values():
            observer.restore_enter(self._task, self._target)
        self._enter_page(self._kernel.restore, True)

    def restore_exit(self, ret: int) -> None:
        """It returns."""
        self._step()
        ret = -self._error if ret else 0
        self._leave_range(ret)
        self._leave(self._kernel.restore, ret).writes += self._dead_walks()
        for observer in self._observers.values():
            observer.restore_exit(ret)

    def vmemmap_remap_free(self, start: int, end: int, reuse: int) -> None:
        """Where it is a function of its own; from 6.0 on it is inlined."""
        start, end, reuse = map(self._at, (start, end, reuse))
        self._step()
        for observer in self._observers.values():
            observer.vmemmap_remap_free(start, end, reuse)
        if REMAP_FREE in self._kernel.functions:
            self._enters(REMAP_FREE, start, end, reuse)

    def vmemmap_remap_range(self, start: int, end: int, reuse_addr: int) -> None:
        """A walk: of an operation's range, of its roll-back, or only to split PMDs."""
        start, end = self._at(start), self._at(end)
        reuse_addr = self._at(reuse_addr) if reuse_addr else 0
        self._step()
        for observer in self._observers.values():
            observer.vmemmap_remap_range(start, end, reuse_addr)
        self._leave_range(-self._error)  # one that is followed by another has failed
        self._go_on()
        walk = self._walks_at[self._walks > 0]
        restoring = bool(self._open) and self._open[-1].symbol == self._kernel.restore
        entry = self._call(REMAP_RANGE, False, start, end, walk)
        entry.dropped = self._drops()
        given = self._kernel.remaps_head and not self._walks and not restoring
        self._walk = _Range(entry, start, walk, given, undoes=self._walks > 0)
        if self._kernel.walk.reuse_addr >= 0:
            entry.writes.append(Write(walk + self._kernel.walk.reuse_addr, reuse_addr))
        self._walks += 1

    def vmemmap_remap_pte(self, addr: int) -> None:
        """One PTE of a walk."""
        addr = self._at(addr)
        self._step()
        for observer in self._observers.values():
            observer.vmemmap_remap_pte(addr)
        self._one_pte(REMAP_PTE, addr)

    def vmemmap_restore_pte(self, addr: int) -> None:
        """One PTE of a restore, or of a roll-back."""
        addr = self._at(addr)
        self._step()
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
        self._step()

    def _step(self) -> None:
        """On to the next call, on whichever CPU it is."""
        self._cpu = self._cpus(self._task.cpu)

    def _moved(self, target: Target) -> Target:
        return target._replace(start=self._at(target.start), end=self._at(target.end))

    def _at(self, address: int) -> int:
        return self._arena.vmemmap(address, self._part)

    def _enter_page(self, symbol: str, on: bool) -> None:
        self._leave_range(0)  # of the batch: PMDs were split
        self._walks = 0
        head, node, order = self._target.start, self._target.node, self._target.order
        entry = self._enters(symbol, self._arena.hstate(order), head, 1, 1)
        flags = (node << (64 - NODES_SHIFT)) | _NOISE
        self._switch = Write(self._arena.switch, int(on), 1)
        entry.writes += [Write(head + PAGE_FLAGS, flags), self._switch]

    def _go_on(self) -> None:
        """Into the part that GCC split off, past what it inlined, or left in a function before."""
        entry = self._open[-1] if self._open else None
        if not self._kernel.parted or entry is None or self._walks:
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
        """The task ends."""
        self._call(DO_EXIT, False, 0)

    def _leave_range(self, ret: int) -> None:
        done, self._walk = self._walk, None
        if done is None:
            return
        walk, given = self._kernel.walk, done.given
        page = self._arena.address
        leave = self._call(REMAP_RANGE, True, *done.entry.arguments)
        leave.dropped = done.entry.dropped
        if walk.nr_walked >= 0:
            walked = done.ptes + (walk.skips and not given and done.ptes > 0)
            done.entry.writes.append(Write(done.walk + walk.nr_walked, 0))
            leave.writes.append(Write(done.walk + walk.nr_walked, walked))
        done.entry.writes.append(Write(done.walk + walk.head, page if given else 0))
        if self._kernel.functions[REMAP_RANGE].returns:
            leave.result = _int(0 if done.undoes else ret)
        if walk.skips:  # found on the way
            leave.writes.append(Write(done.walk + walk.head, page))

    def _one_pte(self, symbol: str, addr: int) -> None:
        walk = self._walk
        assert walk is not None
        if not walk.ptes and self._kernel.walk.skips:
            walk.given = addr == walk.start
        walk.ptes += 1
        self._call(symbol, False, 1, addr, walk.walk)

    def _dead_walks(self) -> list[Write]:
        """The stack that a walk was on is soon something else's."""
        return [
            Write(walk + at, 2**64 - 3) for walk in self._walks_at for at in range(0, 64, _WORD)
        ]

    def _call(self, symbol: str, at_return: bool, *arguments: int, result: int = VOID) -> Call:
        task = self._task._replace(cpu=self._cpu)
        call = Call(symbol, at_return, self._clock.now_ns, task, arguments, result)
        self.calls.append(call)
        return call


def record(kernel: Kernel, sim: SimKernel, arena: Arena, **options: object) -> Recorder:
    """Trace ``sim`` from now on."""
    machine = sim.machine
    recorder = Recorder(kernel, machine.clock, machine.geometry.page_size, arena, **options)  # type: ignore[arg-type]
    machine.trace = recorder
    return recorder


def wandering(seed: int, cpus: int) -> Callable[[int], int]:
    """Every call may be on another CPU; most are not."""
    random = Random(seed)  # noqa: S311 - picks CPUs, not secrets
    return lambda cpu: random.randrange(cpus) if random.random() < 0.2 else cpu


def _int(value: int) -> int:
    """An int as a register holds it: whatever in its upper half."""
    return (GARBAGE << 32) | (value & 0xFFFFFFFF)
