# SPDX-License-Identifier: Apache-2.0
"""``SimKernel``: the simulated machine, put together, and what can be done with it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from random import Random

from probes.baseline import Baseline
from probes.counters import PageKey
from probes.geometry import GIB, MIB, Geometry, size_label
from probes.kernel.kernel_bugs import RESTORE_LEAK
from probes.observation import Pools
from probes.operations import Operation
from sim_backend.kernel.conservation import Accounts, accounts_of, check_conservation, seen_memmap
from sim_backend.kernel.durations import Clock
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.faulty_tracer import FaultyTracer
from sim_backend.kernel.generation import NEWEST, Generation, HeadFrame
from sim_backend.kernel.hstate import Hstate
from sim_backend.kernel.hugetlb import free_hpage_workfn
from sim_backend.kernel.hugetlb_boot import boot
from sim_backend.kernel.hugetlb_demote import demote_store
from sim_backend.kernel.hugetlb_reserve import (
    dissolve_free_huge_pages,
    hugetlb_reserve_pages,
    hugetlb_unreserve_pages,
)
from sim_backend.kernel.hugetlb_resize import set_max_huge_pages
from sim_backend.kernel.hugetlb_surplus import exit_mmap, fault_in_huge_pages, map_huge_pages
from sim_backend.kernel.hugetlb_vmemmap import free_vmemmap_pages_per_hpage
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.machine_parts import (
    make_hstates,
    make_memory,
    pool_counts,
    self_hosted_nodes,
)
from sim_backend.kernel.pagetable import PageTable
from sim_backend.kernel.release import find_generation
from sim_backend.kernel.tracing import Emit, EmitRun, Task

MEMORY_BLOCK = 128 * MIB
"""Memory comes in blocks of this many bytes (a section of sparse memory on 4K pages)."""

_FIRST_PID = 1000
_KWORKER_PID = 57


class SimKernel:
    """A kernel of one generation, with its memory, pools, switch, tasks and clock.

    The same arguments and the same calls give the same events, bytes and times. Not thread-safe.
    """

    def __init__(
        self,
        generation: str = NEWEST,
        *,
        geometry: Geometry | None = None,
        huge_page_sizes: Sequence[int] = (2 * MIB, 1 * GIB),
        nodes: int = 1,
        memory_per_node: int = 16 * GIB,
        cpus_per_node: int = 2,
        seed: int = 0,
        hvo: bool = True,
        hugepages: Mapping[int, int] | None = None,
        self_hosted: Collection[int] = (),
        init_on_alloc: bool = False,
        clock: Clock | None = None,
        emit: Emit | None = None,
    ) -> None:
        """Boot it. Sizes are bytes.

        ``generation`` is the name of one, or a kernel release. ``geometry`` gives page and struct
        page size; reserved pages are the generation's. Of the command line: ``hvo`` is
        hugetlb_free_vmemmap=, ``hugepages`` is hugepages= by hugepagesz=, ``init_on_alloc`` is
        init_on_alloc=. The memory of ``self_hosted`` nodes was hot-added and holds its own struct
        pages. ``clock`` replaces the one that ``seed`` makes. ``emit`` is attached before the first
        operation. Raises ``ValueError`` for what no machine can be.
        """
        known = find_generation(generation)
        geometry = replace(geometry or Geometry(), reserved_pages=known.reserved_pages)
        if nodes < 1 or cpus_per_node < 1:
            raise ValueError("a machine has at least one node, and a CPU on each")
        if memory_per_node <= 0 or memory_per_node % MEMORY_BLOCK:
            raise ValueError(f"memory per node must be a multiple of {size_label(MEMORY_BLOCK)}")
        if memory_per_node // geometry.page_size * geometry.struct_page_size % geometry.page_size:
            raise ValueError("the struct pages of a node do not fill whole pages")
        hstates = make_hstates(geometry, huge_page_sizes, nodes)
        clock = clock or Clock(seed)
        self._random = Random(seed)  # noqa: S311 - picks CPUs, not secrets
        self._pinned: int | None = None
        self._tasks = 0
        self._memmap_at_attach: int | None = None
        self._machine = Machine(
            geometry=geometry,
            generation=known,
            memory=make_memory(geometry, nodes, memory_per_node, hstates),
            init_mm=PageTable(geometry),
            clock=clock,
            trace=FaultyTracer(clock, geometry.page_size, known.symbols["remap_range"]),
            hstates=hstates,
            cpus_per_node=cpus_per_node,
            vmemmap_optimize_enabled=hvo,
            self_hosted=self_hosted_nodes(known, self_hosted, nodes),
            init_on_alloc=init_on_alloc,
        )
        boot(self._machine, hugepages or {})
        self._verbs: Mapping[str, Callable[[Operation], int]] = {
            "grow": self._grow,
            "shrink": self._shrink,
            "overcommit": self._overcommit,
            "demote": self._demote,
            "hvo": self._switch,
            "reserve": self._reserve,
            "unreserve": self._unreserve,
            "dissolve": self._dissolve,
        }
        if emit is not None:
            self.attach(emit)

    @property
    def generation(self) -> Generation:
        """Which kernel this is."""
        return self._machine.generation

    @property
    def geometry(self) -> Geometry:
        """Page sizes and reserved pages."""
        return self._machine.geometry

    @property
    def huge_page_sizes(self) -> tuple[int, ...]:
        """Sizes that have a pool, in bytes, ascending."""
        return tuple(h.size for h in reversed(self._machine.hstates))

    @property
    def nodes(self) -> int:
        """How many NUMA nodes there are; they are numbered from 0."""
        return len(self._machine.memory.nodes)

    @property
    def now_ns(self) -> int:
        """CLOCK_MONOTONIC of the simulated machine."""
        return self._machine.clock.now_ns

    @property
    def machine(self) -> Machine:
        """The machine itself, for calls of kernel functions and reads of page tables."""
        return self._machine

    def attach(self, emit: Emit, emit_run: EmitRun | None = None) -> None:
        """Trace the kernel: ``emit`` gets every event from now on, sequences begin at 0.

        ``emit_run``, if there is one, gets those of runs of PTEs instead. Raises ``ValueError``
        when it is traced already.
        """
        self._machine.trace.attach(emit, emit_run)
        self._memmap_at_attach = seen_memmap(self._machine)

    def detach(self) -> None:
        """Stop tracing."""
        self._machine.trace.detach()
        self._memmap_at_attach = None

    def trace_anew(self) -> None:
        """Begin tracing from the start, with every probe in its place and the same listener."""
        self._machine.trace.begin_anew()
        self._memmap_at_attach = seen_memmap(self._machine)

    def idle(self, seconds: float) -> None:
        """Let simulated time pass."""
        self._machine.clock.idle(seconds)

    def operate(self, operation: Operation) -> int:
        """Do ``operation``, and return how many huge pages it concerned (0 for the switch).

        ``overcommit`` is a task that uses the whole pool and ``pages`` more, then ends.
        ``demote`` (5.16 and later) and the switch at run time (5.19 and later) work in every
        generation. Besides, a task may ``reserve`` pages, untouched (what the pool does not have is
        allocated as surplus), and ``unreserve`` them; ``dissolve`` breaks up free pages, lowest
        address first, as memory failure does.

        Raises ``OperationError`` when all of it, or the rest of it, is impossible.
        """
        if operation.verb not in self._verbs:
            raise OperationError(f"unknown operation {operation.verb!r}")
        try:
            return self._verbs[operation.verb](operation)
        finally:
            self._free_deferred()

    def pools(self) -> Pools:
        """Huge pages by size, node and state, as /sys would show them."""
        hstates = self._machine.hstates[::-1]
        return Pools(
            tuple(pool for h in hstates for pool in pool_counts(h)),
            {h.size: h.resv_huge_pages for h in hstates},
            {h.size: h.nr_overcommit_huge_pages for h in hstates},
        )

    def census(self) -> Baseline:
        """Huge pages that carry HPG_vmemmap_optimized, and frames that each saves."""
        m = self._machine
        return Baseline(
            {
                PageKey(h.order, nid): sum(page.vmemmap_optimized for page in h.pages(nid))
                for h in m.hstates
                for nid in range(h.nodes)
            },
            {h.order: free_vmemmap_pages_per_hpage(m, h) for h in m.hstates},
        )

    def switch(self) -> bool:
        """Whether HVO is on, also where a real kernel of this generation would not show it."""
        return self._machine.vmemmap_optimize_enabled

    def memmap_pages(self) -> Mapping[str, int]:
        """Frames with struct pages: ``boot`` and ``runtime``, also for kernels before 6.11."""
        m = self._machine
        return {"boot": m.nr_memmap_boot_pages, "runtime": m.nr_memmap_pages}

    def kernel_bugs(self) -> tuple[str, ...]:
        """Bugs of the generation, by the names that they have on a real kernel."""
        leaves_heads = self.generation.head is HeadFrame.REQUIRED_SHARED
        return (RESTORE_LEAK,) if leaves_heads else ()

    def saved_bytes(self, memmap_pages: Mapping[str, int]) -> int:
        """What the struct pages of all memory would take, less what they do."""
        m = self._machine
        frames = sum(node.end - node.start for node in m.memory.nodes)
        taken = sum(memmap_pages.values())
        return frames * m.geometry.struct_page_size - taken * m.geometry.page_size

    def accounts(self) -> Accounts:
        """Where all frames are, by the kernel's own accounts."""
        return accounts_of(self._machine)

    def check_conservation(self) -> None:
        """Raise ``ConservationError`` unless every frame is in one place, and events agree.

        Events can't once a probe has missed a hit.
        """
        seen = self._memmap_at_attach if self._machine.trace.whole else None
        check_conservation(self._machine, seen)

    def hold_memory(self, node: int, leave: int) -> int:
        """Memory pressure: let something else take all free frames of ``node`` but ``leave``.

        Returns how many it took; ``ValueError`` if there are fewer than ``leave``.
        """
        return self._machine.memory.hold(node, leave)

    def release_memory(self) -> None:
        """End the memory pressure."""
        self._machine.memory.unhold()

    def take(self, size: int, pages: int) -> int:
        """Let a task map huge pages and keep them: free ones of the pool first, then surplus.

        nr_overcommit_hugepages is raised as far as that needs. Returns how many; raises
        ``OperationError`` when that is fewer than asked for.
        """
        operation = Operation("take", size, pages)
        h = self._hstate(operation)
        self._begin_task(b"hugetlb-user")
        done = fault_in_huge_pages(self._machine, h, pages)
        _expect(operation, done, f"memory for no more than {done}")
        return done

    def give(self, size: int, pages: int) -> int:
        """Let tasks unmap huge pages that ``take`` mapped, and return how many.

        Raises ``OperationError`` when that is fewer than asked for.
        """
        operation = Operation("give", size, pages)
        h = self._hstate(operation)
        done = min(pages, len(h.hugepage_activelist))
        self._begin_task(b"hugetlb-user")
        exit_mmap(self._machine, h, [h.hugepage_activelist.popleft() for _ in range(done)])
        self._free_deferred()
        _expect(operation, done, f"no page in use but {done}")
        return done

    def pin(self, cpu: int | None) -> None:
        """Run the tasks of later operations on ``cpu``, and fault in pages of its node; None: any.

        Raises ``ValueError`` where there is no such CPU.
        """
        cpus = self.nodes * self._machine.cpus_per_node
        if cpu is not None and not 0 <= cpu < cpus:
            raise ValueError(f"there is no CPU {cpu}: the machine has {cpus}")
        self._pinned = cpu

    def _grow(self, operation: Operation) -> int:
        h = self._hstate(operation)
        before = h.persistent_huge_pages
        self._begin_task(b"sysctl")
        set_max_huge_pages(self._machine, h, before + operation.pages)
        done = h.persistent_huge_pages - before
        _expect(operation, done, f"memory for no more than {done}")
        return done

    def _shrink(self, operation: Operation) -> int:
        h = self._hstate(operation)
        if operation.pages > h.persistent_huge_pages:
            raise OperationError(f"{operation}: the pool has {h.persistent_huge_pages} pages")
        before = h.nr_huge_pages
        self._begin_task(b"sysctl")
        set_max_huge_pages(self._machine, h, h.persistent_huge_pages - operation.pages)
        done = before - h.nr_huge_pages
        _expect(operation, done, f"memory to restore no more than {done}")
        return done

    def _overcommit(self, operation: Operation) -> int:
        h = self._hstate(operation)
        if h.gigantic:
            raise OperationError(f"{operation}: gigantic pages can't be overcommitted")
        m = self._machine
        self._begin_task(b"hugetlb-user")
        pages, done = map_huge_pages(m, h, operation.pages)
        exit_mmap(m, h, pages)
        _expect(operation, done, f"memory for no more than {done}")
        return done

    def _demote(self, operation: Operation) -> int:
        h = self._hstate(operation)
        smaller = [other for other in self._machine.hstates if other.order < h.order]
        if not smaller:
            raise OperationError(f"{operation}: there is no smaller size to demote to")
        if operation.pages > h.free_huge_pages:
            raise OperationError(f"{operation}: the pool has {h.free_huge_pages} free pages")
        self._begin_task(b"bash")
        before = h.nr_huge_pages
        demote_store(self._machine, h, smaller[0], operation.pages)
        done = before - h.nr_huge_pages
        _expect(operation, done, f"memory to restore no more than {done}")
        return done

    def _reserve(self, operation: Operation) -> int:
        h = self._hstate(operation)
        self._begin_task(b"hugetlb-user")
        done = 0 if hugetlb_reserve_pages(self._machine, h, operation.pages) else operation.pages
        _expect(operation, done, "memory for none of them")
        return done

    def _unreserve(self, operation: Operation) -> int:
        h = self._hstate(operation)
        self._begin_task(b"hugetlb-user")
        done = hugetlb_unreserve_pages(self._machine, h, operation.pages)
        _expect(operation, done, f"no reserved page but {done}")
        return done

    def _dissolve(self, operation: Operation) -> int:
        h = self._hstate(operation)
        self._begin_task(b"bash")
        done = dissolve_free_huge_pages(self._machine, h, operation.pages)
        _expect(operation, done, f"no page but {done} that could be dissolved")
        return done

    def _switch(self, operation: Operation) -> int:
        self._machine.vmemmap_optimize_enabled = operation.on
        return 0

    def _free_deferred(self) -> None:
        """Let the kworker free the pages that were left to it.

        Here it runs once the task is done; set_max_huge_pages waits for it, too
        (flush_free_hpage_work).
        """
        if self._machine.hpage_freelist:
            self._machine.task = Task(_KWORKER_PID, _KWORKER_PID, b"kworker/0:1", 0)
            free_hpage_workfn(self._machine)

    def _hstate(self, operation: Operation) -> Hstate:
        if operation.pages < 1:
            raise OperationError(f"{operation}: the count must be above 0")
        for h in self._machine.hstates:
            if h.size == operation.size:
                return h
        sizes = ", ".join(size_label(size) for size in self.huge_page_sizes)
        raise OperationError(f"{operation}: this kernel has huge pages of {sizes}")

    def _begin_task(self, comm: bytes) -> None:
        self._tasks += 1
        pid = _FIRST_PID + self._tasks
        cpu = self._random.randrange(self.nodes * self._machine.cpus_per_node)
        if self._pinned is not None:
            cpu = self._pinned
        self._machine.task = Task(pid, pid, comm, cpu)


def _expect(operation: Operation, done: int, problem: str) -> None:
    if done < operation.pages:
        raise OperationError(f"{operation}: there is {problem}", done)
