# SPDX-License-Identifier: Apache-2.0
"""mm/hugetlb_vmemmap.c, one huge page at a time: from patch v17 to 6.6, and every restore.

The names are those of patch v17. Kernels call the same functions hugetlb_vmemmap_free and _alloc
(5.19), hugetlb_vmemmap_optimize and _restore (6.0); see ``Generation.symbols``.
"""

from collections.abc import Callable, Mapping
from errno import ENOMEM

from sim_backend.kernel.durations import CALL
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import Page, alloc_pages_node
from sim_backend.kernel.generation import HeadFrame, SelfHosted
from sim_backend.kernel.hstate import Hstate, HugePage
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.sparse_vmemmap import vmemmap_remap_alloc, vmemmap_remap_free
from sim_backend.kernel.vmemmap_frames import free_vmemmap_page_list
from sim_backend.kernel.vmemmap_head import (
    vmemmap_remap_alloc_to_src,
    vmemmap_remap_free_copying_head,
)


def free_vmemmap_pages_per_hpage(m: Machine, h: Hstate) -> int:
    """Frames that a huge page can do without; zero in patch v17, "for now"."""
    if not m.generation.feature:
        return 0
    return m.geometry.free_vmemmap_pages_per_hpage(h.size)


def free_huge_page_vmemmap(m: Machine, h: Hstate, head: HugePage) -> None:
    """Optimise one huge page, if the switch is on and its size allows.

    Whether it was optimised already is not looked at: a second call frees the shared frame, and
    the kernel dies of it (``KernelBug``).
    """
    trace_optimize_enter(m, h, head)
    ret = _free_huge_page_vmemmap(m, h, head)
    m.trace.optimize_exit(ret)


def trace_optimize_enter(m: Machine, h: Hstate, head: HugePage) -> None:
    """Enter the per-page function: its event, and the time it takes to look around."""
    optimizable = free_vmemmap_pages_per_hpage(m, h) > 0
    m.clock.draw_load()
    m.trace.optimize_enter(m.task, m.target(h, head), m.reason_to_skip(optimizable))
    m.clock.spend(CALL)


def vmemmap_range(m: Machine, h: Hstate, head: HugePage) -> tuple[int, int, int]:
    """Where the vmemmap of ``head`` can be remapped: start, end, and the page to reuse."""
    page_size = m.geometry.page_size
    vmemmap_addr = m.page_to_vmemmap(head.pfn) + m.geometry.reserved_pages * page_size
    vmemmap_end = vmemmap_addr + free_vmemmap_pages_per_hpage(m, h) * page_size
    return vmemmap_addr, vmemmap_end, vmemmap_addr - page_size


def vmemmap_should_optimize(m: Machine, h: Hstate, head: HugePage) -> bool:
    """Whether the switch is on, the size allows it, and its struct pages do (6.0 to 6.7)."""
    if not m.vmemmap_optimize_enabled or not free_vmemmap_pages_per_hpage(m, h):
        return False
    return m.generation.self_hosted is not SelfHosted.SKIPPED or head.nid not in m.self_hosted


def _free_huge_page_vmemmap(m: Machine, h: Hstate, head: HugePage) -> int:
    if not vmemmap_should_optimize(m, h, head):
        return 0
    start, end, reuse = vmemmap_range(m, h, head)
    ret = _REMAP_FREE[m.generation.head](m, start, end, reuse)
    if ret == 0:
        head.vmemmap_optimized = True
    return ret


def _remap_free_copying_head(m: Machine, start: int, end: int, reuse: int) -> int:
    pages = FrameList()
    ret = vmemmap_remap_free_copying_head(m, start, end, reuse, pages=pages, flush=True)
    free_vmemmap_page_list(m, pages)
    return ret


_REMAP_FREE: Mapping[HeadFrame, Callable[[Machine, int, int, int], int]] = {
    HeadFrame.KEPT: vmemmap_remap_free,
    HeadFrame.COPIED: _remap_free_copying_head,
}


def alloc_huge_page_vmemmap(m: Machine, h: Hstate, head: HugePage, *, flush: bool = True) -> int:
    """Restore one huge page. Returns 0, also if there was nothing to restore, or -ENOMEM."""
    m.clock.draw_load()
    m.trace.restore_enter(m.task, m.target(h, head))
    m.clock.spend(CALL)
    ret = 0
    if head.vmemmap_optimized:
        ret = _REMAP_ALLOC[m.generation.head](m, h, head, flush)
        head.vmemmap_optimized = ret != 0
    m.trace.restore_exit(ret)
    return ret


def _remap_alloc(m: Machine, h: Hstate, head: HugePage, flush: bool) -> int:
    start, end, reuse = vmemmap_range(m, h, head)
    return vmemmap_remap_alloc(m, start, end, reuse, flush=flush)


def _remap_alloc_to_src(m: Machine, h: Hstate, head: HugePage, flush: bool) -> int:
    start, end, _ = vmemmap_range(m, h, head)
    return vmemmap_remap_alloc_to_src(m, start, end, flush=flush)


def _remap_alloc_without_reset(m: Machine, h: Hstate, head: HugePage, flush: bool) -> int:
    """Restore as 6.12.114 does: what is copied is the head's frame, and it stays like that."""
    ret = _remap_alloc_to_src(m, h, head, flush)
    if ret == 0:
        head.head_copies = True
    return ret


_REMAP_ALLOC: Mapping[HeadFrame, Callable[[Machine, Hstate, HugePage, bool], int]] = {
    HeadFrame.KEPT: _remap_alloc,
    HeadFrame.COPIED: _remap_alloc,
    HeadFrame.REQUIRED: _remap_alloc_to_src,
    HeadFrame.REQUIRED_SHARED: _remap_alloc_without_reset,
}


def vmemmap_get_tail(m: Machine, h: Hstate, nid: int) -> Page | int:
    """The frame that tails of this node and order share; allocated once, kept for ever (7.1).

    Returns -ENOMEM when there is no memory for it. No counter of the kernel knows of it.
    """
    tail = m.vmemmap_tails.get((nid, h.order))
    if tail is None:
        tail = alloc_pages_node(m.memory, nid, this_node=False)
        if tail is None:
            return -ENOMEM
        m.vmemmap_tails[nid, h.order] = tail
    return tail
