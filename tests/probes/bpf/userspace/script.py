# SPDX-License-Identifier: Apache-2.0
"""Scripted operations, for cases that the simulator can't produce: any errno at any PTE."""

from collections.abc import Callable
from dataclasses import dataclass
from errno import ENOMEM
from heapq import merge
from itertools import chain, repeat

from probes.events import Reason
from sim_backend.kernel.durations import Clock
from sim_backend.kernel.generation import GENERATIONS, HeadFrame
from sim_backend.kernel.pagetable import VMEMMAP_START
from sim_backend.kernel.tracing import Target, Task
from tests.probes.bpf.userspace.kernels import Kernel
from tests.probes.bpf.userspace.recorder import Arena, Call, Recorder
from tests.probes.bpf.userspace.run import PAGE_SIZE

STRUCT_PAGE = 64
_PAGE_STRIDE = STRUCT_PAGE << 18


@dataclass(frozen=True)
class Page:
    """A huge page: its number, order and node."""

    number: int
    order: int
    node: int

    @property
    def target(self) -> Target:
        """Addresses of its struct pages, for the simulator's tracer."""
        start = VMEMMAP_START + self.number * _PAGE_STRIDE
        return Target(start, start + (STRUCT_PAGE << self.order), self.order, self.node)


class Script:
    """One task of a kernel that performs operations; each method adds one."""

    def __init__(
        self,
        kernel: Kernel,
        arena: Arena,
        *,
        pid: int = 1000,
        cpu: int = 0,
        part: int = 0,
        errnos: tuple[int, ...] = (),
        cpus: Callable[[int], int] = lambda cpu: cpu,
        drops: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        self._generation = GENERATIONS[kernel.generation]
        self._clock = clock or Clock(pid)
        self._task = Task(pid, pid, b"script", cpu)
        self.recorder = Recorder(
            kernel,
            self._clock,
            PAGE_SIZE,
            arena,
            errnos=chain(errnos, repeat(ENOMEM)),
            cpus=cpus,
            drops=drops,
            part=part,
        )

    def wait(self, ns: int) -> "Script":
        """Let time pass."""
        self._clock.now_ns += ns
        return self

    def optimize(
        self, page: Page, *, fails_after: int | None = None, head: bool = True, each_ns: int = 500
    ) -> "Script":
        """Optimize ``page``.

        The operation is rolled back after ``fails_after`` PTEs. ``head``: a frame for a new head is
        available.
        """
        trace, target = self.recorder, page.target
        first, reuse = self._first(target), self._first(target) - PAGE_SIZE
        trace.optimize_enter(self._task, target, Reason.OTHER)
        self._clock.now_ns += 200
        copied = self._generation.head is not HeadFrame.KEPT
        remaps_head = copied and (head or self._generation.head is HeadFrame.REQUIRED)
        ptes = range(reuse if remaps_head else first, target.end, PAGE_SIZE)
        if not copied:
            trace.vmemmap_remap_free(first, target.end, reuse)
        self._walk(reuse, target.end)
        done = ptes if fails_after is None else ptes[:fails_after]
        self._each(trace.vmemmap_remap_pte, done, each_ns)
        if fails_after and done:
            undone = done if done[0] > reuse else done[1:]
            self._walk(undone.start if self._headed else reuse, undone.stop)
            self._each(trace.vmemmap_restore_pte, undone, each_ns)
        trace.optimize_exit(0 if fails_after is None else -1)
        return self

    def skip(self, page: Page, reason: Reason) -> "Script":
        """Skip ``page`` for ``reason``."""
        self.recorder.optimize_enter(self._task, page.target, reason)
        self._clock.now_ns += 200
        self.recorder.optimize_exit(0)
        return self

    def restore(self, page: Page, *, fails: bool = False, each_ns: int = 900) -> "Script":
        """Restore ``page``, or fail before the first PTE."""
        trace, target = self.recorder, page.target
        trace.restore_enter(self._task, target)
        self._clock.now_ns += 200
        if not fails:
            first = self._first(target)
            self._walk(first if self._headed else first - PAGE_SIZE, target.end)
            ptes = range(first, target.end, PAGE_SIZE)
            self._each(trace.vmemmap_restore_pte, ptes, each_ns)
        trace.restore_exit(-fails)
        return self

    def restore_unoptimized(self, page: Page) -> "Script":
        """Call the restore function for a page that was never optimized."""
        self.recorder.restore_enter(self._task, page.target)
        self._clock.now_ns += 200
        self.recorder.restore_exit(0)
        return self

    def batch(self, order: int, *pages: Page) -> "Script":
        """Optimize a list of huge pages, on a kernel with batches."""
        self.recorder.batch_enter(self._task, order)
        for page in pages:
            self.optimize(page)
        self.recorder.batch_exit()
        return self

    @property
    def _headed(self) -> bool:
        """Whether a walk begins at the first PTE that it maps, without a reuse address."""
        return self._generation.head is HeadFrame.REQUIRED

    def _first(self, target: Target) -> int:
        return target.start + self._generation.reserved_pages * PAGE_SIZE

    def _walk(self, start: int, end: int) -> None:
        self.recorder.vmemmap_remap_range(start, end, 0 if self._headed else start)

    def _each(self, hook: Callable[[int], None], ptes: range, each_ns: int) -> None:
        for address in ptes:
            hook(address)
            self._clock.now_ns += each_ns


def interleaved(*scripts: Script) -> list[Call]:
    """Merge the calls of several tasks by time."""
    return list(merge(*(script.recorder.calls for script in scripts), key=lambda call: call.now))
