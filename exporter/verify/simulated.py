# SPDX-License-Identifier: Apache-2.0
"""A simulated machine to verify: every generation, those with bugs too."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from exporter.verify.accounts import NOT_READ, Accounts, Counted
from exporter.verify.known_bugs import described
from exporter.verify.machine import END_USE, HugePageSize, ImpossibleError
from probes.geometry import GIB
from probes.observation import PROBES, Absent
from probes.operations import Operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.frames import Node
from sim_backend.kernel.hstate import Hstate
from sim_backend.kernel.hugetlb_vmemmap import free_vmemmap_pages_per_hpage
from sim_backend.kernel.sim_kernel import SimKernel

_MEMORY = 16 * GIB
_NO_COUNTERS = Absent("the kernel does not count memmap frames (nr_memmap_pages, Linux 6.11)")
_NO_FLAGS = Absent("the simulated kernel has no /proc/kpageflags")
_NO_LOG = Absent("the simulated kernel has no log")


class SimulatedMachine:
    """``exporter.verify.machine.Machine`` of a simulated kernel, with probes on it."""

    def __init__(self, generation: str, *, nodes: int = 1, init_on_alloc: bool = True) -> None:
        """Boot it; ``init_on_alloc`` is Debian's default. Raises ``ValueError``."""
        self._kernel = SimKernel(
            generation,
            nodes=nodes,
            memory_per_node=_MEMORY // nodes,
            hvo=False,
            init_on_alloc=init_on_alloc,
        )
        if not self._kernel.generation.sysctl:
            self._kernel.machine.vmemmap_optimize_enabled = True
        self._backend = SimBackend(self._kernel)
        self._backend.start()
        self._overcommit = {h.size: h.nr_overcommit_huge_pages for h in self._hstates}
        self._switch = self._kernel.switch()

    def close(self) -> None:
        """Detach the probes."""
        self._backend.stop()

    @property
    def name(self) -> str:
        """The generation."""
        return f"{self._kernel.generation.name} (simulated)"

    @property
    def page_size(self) -> int:
        """Base page size in bytes."""
        return self._kernel.geometry.page_size

    @cached_property
    def sizes(self) -> tuple[HugePageSize, ...]:
        """Sizes of huge pages, ascending."""
        geometry, found = self._kernel.geometry, []
        smaller: int | None = None
        for h in self._hstates:
            found.append(
                HugePageSize(
                    h.size,
                    h.order,
                    free_vmemmap_pages_per_hpage(self._kernel.machine, h),
                    geometry.vmemmap_pages(h.size),
                    smaller,
                )
            )
            smaller = h.size
        return tuple(found)

    @property
    def has_switch(self) -> bool:
        """From 5.19 on."""
        return self._kernel.generation.sysctl

    @property
    def known_bugs(self) -> Mapping[str, str] | Absent:
        """Those of the generation."""
        return described(self._kernel.kernel_bugs())

    @property
    def never_fails(self) -> str:
        """Memory can always be held back."""
        return ""

    def free_bytes(self) -> int:
        """Free memory of all nodes."""
        return sum(node.buddy.nr_free for node in self._nodes) * self.page_size

    def perform(self, operation: Operation) -> None:
        """Do it. Raises ``ImpossibleError``."""
        try:
            match operation.verb:
                case "use":
                    self._kernel.take(operation.size, operation.pages)
                case "end use":
                    self._kernel.give(operation.size, operation.pages)
                case "fail to shrink":
                    self._fail_to_shrink(operation.size, operation.pages)
                case "shrink":
                    self._own_surplus(operation.size)
                    self._backend.operate(operation)
                case _:
                    self._backend.operate(operation)
        except OperationError as error:
            raise ImpossibleError(str(error)) from error

    def read(self, *, flags: bool = False) -> Accounts:
        """Read every account now."""
        kernel = self._kernel
        seen = self._backend.observe((PROBES,))
        pools = kernel.pools()
        counters = kernel.generation.memmap_counters
        return Accounts(
            pages=pools.pages("total"),
            surplus=pools.pages("surplus"),
            probes=seen.counters,
            probe_trouble=seen.status.problem,
            census=self._census(),
            memmap_frames=sum(kernel.memmap_pages().values()) if counters else _NO_COUNTERS,
            mem_total=sum(node.managed_pages for node in self._nodes) * self.page_size,
            memory=self.free_bytes(),
            stale_flags=_NO_FLAGS if flags else NOT_READ,
            log=_NO_LOG,
        )

    def put_back(self) -> tuple[str, ...]:
        """End tasks, empty the pools, set switch and overcommit to what they were."""
        left = []
        for h in self._hstates:
            if in_use := len(h.hugepage_activelist):
                self.perform(Operation(END_USE, h.size, in_use))
            self._own_surplus(h.size)
            h.nr_overcommit_huge_pages = self._overcommit[h.size]
            if h.persistent_huge_pages:
                try:
                    self._backend.operate(Operation("shrink", h.size, h.persistent_huge_pages))
                except OperationError as error:
                    left.append(str(error))
        self._backend.operate(Operation("hvo", on=self._switch))
        return tuple(left)

    def _fail_to_shrink(self, size: int, pages: int) -> None:
        for node in range(self._kernel.nodes):
            self._kernel.hold_memory(node, leave=0)
        try:
            with suppress(OperationError):  # the accounts say how far it came
                self._backend.operate(Operation("shrink", size, pages))
        finally:
            self._kernel.release_memory()

    def _own_surplus(self, size: int) -> None:
        """Make surplus that no task has the pool's own, as a write to nr_hugepages does."""
        if surplus := self._kernel.pools().pages("surplus")[size]:
            self._backend.operate(Operation("grow", size, surplus))

    def _census(self) -> Mapping[int, Counted]:
        optimized: Counter[int] = Counter()
        for key, count in self._kernel.census().optimized.items():
            optimized[key.order] += count
        return {
            h.order: Counted(len(pages), optimized[h.order])
            for h in self._hstates
            for pages in [[page for nid in range(h.nodes) for page in h.pages(nid)]]
        }

    @property
    def _hstates(self) -> tuple[Hstate, ...]:
        return self._kernel.machine.hstates[::-1]

    @property
    def _nodes(self) -> Sequence[Node]:
        return self._kernel.machine.memory.nodes
