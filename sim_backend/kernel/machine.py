# SPDX-License-Identifier: Apache-2.0
"""The machine that kernel functions work on: what are globals in the kernel are its fields."""

from collections import deque
from dataclasses import dataclass, field

from probes.events import Reason
from probes.geometry import Geometry
from sim_backend.kernel.durations import FLUSH_TLB, Clock
from sim_backend.kernel.faulty_tracer import FaultyTracer
from sim_backend.kernel.frames import Memory, Page
from sim_backend.kernel.generation import Generation
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.pagetable import VMEMMAP_START, PageTable
from sim_backend.kernel.tracing import Target, Task

IDLE_TASK = Task(0, 0, b"swapper/0", 0)


@dataclass(eq=False, slots=True)
class Machine:
    """Hardware, page tables, allocators and pools of one simulated kernel."""

    geometry: Geometry
    generation: Generation
    memory: Memory
    init_mm: PageTable
    clock: Clock
    trace: FaultyTracer
    hstates: tuple[Hstate, ...]
    """By size, descending."""
    cpus_per_node: int
    vmemmap_optimize_enabled: bool = True
    """The switch: hugetlb_free_vmemmap=, and vm.hugetlb_optimize_vmemmap from 5.19 on."""
    task: Task = IDLE_TASK
    """Who runs just now."""
    nr_memmap_boot_pages: int = 0
    """Frames of memblock that hold struct pages (kept by kernels from 6.11 on)."""
    nr_memmap_pages: int = 0
    """Frames of the buddy allocator that hold struct pages (kept by kernels from 6.11 on)."""
    vmemmap_tails: dict[tuple[int, int], Page] = field(default_factory=dict)
    """zone->vmemmap_tails: the frame that tails share, by node and page order (7.1)."""
    hpage_freelist: deque[tuple[Hstate, HugePage]] = field(default_factory=deque)
    """Huge pages that a kworker is to free (mm/hugetlb.c): an llist, last freed first."""
    self_hosted: frozenset[int] = frozenset()
    """Nodes of hot-added memory that hosts its own struct pages (memmap_on_memory)."""
    init_on_alloc: bool = False
    """Frees check all struct pages of a huge page, and keep one that looks wrong."""
    lost_frames: list[int] = field(default_factory=list)
    """Frames counted in nr_memmap_*, which nothing maps any more (6.12.114)."""
    lost_heads: list[int] = field(default_factory=list)
    """The same, lost in the rollback of an optimisation that failed, which no event tells."""
    lost_huge_frames: int = 0
    """Frames of huge pages that their free kept from the buddy allocator (6.12.114)."""
    one_by_one: bool = False
    """Work on each PTE and frame by itself, as the C does; slower, with the same result."""

    def page_to_vmemmap(self, pfn: int) -> int:
        """Address of the struct page of ``pfn``."""
        return VMEMMAP_START + pfn * self.geometry.struct_page_size

    def vmemmap_to_nid(self, addr: int) -> int:
        """page_to_nid((struct page *)addr): the node of the memory that ``addr`` describes."""
        pfn = (addr - VMEMMAP_START) // self.geometry.struct_page_size
        return self.memory.node_of(pfn).nid

    def target(self, h: Hstate, head: HugePage) -> Target:
        """Where the vmemmap of ``head`` is, for events."""
        start = self.page_to_vmemmap(head.pfn)
        return Target(start, start + self.geometry.struct_bytes(h.size), h.order, head.nid)

    def reason_to_skip(self, optimizable: bool) -> Reason:
        """Why the per-page function will do nothing, if it does; in the kernel's own order."""
        if not self.vmemmap_optimize_enabled:
            return Reason.OFF
        return Reason.OTHER if optimizable else Reason.UNSUPPORTED

    @property
    def in_runs(self) -> bool:
        """Whether PTEs and frames that are alike may be worked on all at once."""
        if self.one_by_one or self.memory.fail_page_alloc.armed:
            return False
        return self.trace.takes_runs

    def numa_node_id(self) -> int:
        """Node of the CPU that the task runs on."""
        return self.task.cpu // self.cpus_per_node

    def flush_tlb(self) -> None:
        """flush_tlb_kernel_range or flush_tlb_all: nothing is cached here, it only takes time."""
        self.clock.spend(FLUSH_TLB)
