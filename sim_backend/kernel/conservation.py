# SPDX-License-Identifier: Apache-2.0
"""The accounting of the simulated kernel, and the law that every frame is somewhere, once.

What each subsystem says of itself (counters, lists) is held against what the page table and the
allocators show when they are walked. All figures are frames.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from sim_backend.kernel.errors import ConservationError
from sim_backend.kernel.machine import Machine


class Accounts(NamedTuple):
    """Where the frames of the machine are, by the kernel's own accounts."""

    total: int
    """All frames there are."""
    mem_total: int
    """MemTotal of /proc/meminfo: what the buddy allocator answers for."""
    free: int
    """MemFree."""
    nr_memmap_boot_pages: int
    """Struct pages in frames of memblock (/proc/vmstat, from 6.11 on)."""
    nr_memmap_pages: int
    """Struct pages in frames of the buddy allocator (/proc/vmstat, from 6.11 on)."""
    vmemmap_tails: int
    """Shared tail frames (7.1), which no counter of a kernel knows of."""
    page_tables: int
    """Tables that map vmemmap; the counters of a kernel leave out those made by splitting."""
    hugetlb: int
    """Huge pages of all pools, in use or not."""
    lost: int
    """Kept from the buddy allocator when a huge page was freed (6.12.114 with init_on_alloc)."""
    held: int
    """Taken by ``SimKernel.hold_memory``."""

    @property
    def memmap(self) -> int:
        """All frames with struct pages but the shared tails; its fall is what HVO saves."""
        return self.nr_memmap_boot_pages + self.nr_memmap_pages


def accounts_of(m: Machine) -> Accounts:
    """Read the accounting of ``m``."""
    return Accounts(
        total=sum(node.end - node.start for node in m.memory.nodes),
        mem_total=sum(node.managed_pages for node in m.memory.nodes),
        free=sum(node.buddy.nr_free for node in m.memory.nodes),
        nr_memmap_boot_pages=m.nr_memmap_boot_pages,
        nr_memmap_pages=m.nr_memmap_pages,
        vmemmap_tails=len(m.vmemmap_tails),
        page_tables=sum(1 for _ in m.init_mm.table_frames()),
        hugetlb=sum(h.nr_huge_pages << h.order for h in m.hstates),
        lost=m.lost_huge_frames,
        held=m.memory.held_frames,
    )


def seen_memmap(m: Machine) -> int:
    """Frames with struct pages, but those whose loss no event tells."""
    return accounts_of(m).memmap - len(m.lost_heads)


def check_conservation(m: Machine, memmap_at_attach: int | None) -> None:
    """Raise ``ConservationError`` unless all of the accounts balance.

    ``memmap_at_attach`` is what ``seen_memmap`` was when the tracer began; None: no tracer.
    """
    accounts = accounts_of(m)
    lost = [range(frame, frame + 1) for frame in (*m.lost_frames, *m.lost_heads)]
    mapped = _union([*m.init_mm.mapped_runs(), *lost])
    tails = [range(page.pfn, page.pfn + 1) for page in m.vmemmap_tails.values()]
    shared = [tail for tail in tails if any(tail.start in run for run in mapped)]
    boot = _reserved(m, mapped) - _reserved(m, shared)
    others = sum(map(len, mapped)) - boot - len(shared)
    _equal("boot frames that vmemmap is mapped to", boot, accounts.nr_memmap_boot_pages)
    _equal("other frames that vmemmap is mapped to", others, accounts.nr_memmap_pages)
    tables = [range(frame, frame + 1) for frame in m.init_mm.table_frames()]
    reserved = boot + _reserved(m, tails) + _reserved(m, tables)
    _equal("MemTotal and frames of memblock", accounts.mem_total + reserved, accounts.total)
    used = accounts.memmap + accounts.vmemmap_tails + accounts.page_tables + accounts.hugetlb
    used += accounts.lost + accounts.held
    _equal("frames in use and free", used + accounts.free, accounts.total)
    _check_free_runs(m, accounts.free, _union([*mapped, *tables, *tails]))
    _check_pools(m)
    if memmap_at_attach is not None:
        saved = memmap_at_attach - seen_memmap(m)
        _equal("frames freed less allocated by events", m.trace.net_freed_frames, saved)


def _reserved(m: Machine, runs: Iterable[range]) -> int:
    """How many of the frames are memblock's."""
    return sum(map(m.memory.nr_reserved, runs))


def _union(runs: Iterable[range]) -> list[range]:
    """The frames of all runs, as runs that neither overlap nor touch, in ascending order."""
    union: list[range] = []
    for run in sorted(runs, key=lambda run: run.start):
        if union and run.start <= union[-1].stop:
            union[-1] = range(union[-1].start, max(union[-1].stop, run.stop))
        else:
            union.append(run)
    return union


def _equal(what: str, found: int, booked: int) -> None:
    if found != booked:
        raise ConservationError(f"{what}: found {found}, the accounting says {booked}")


def _check_free_runs(m: Machine, free: int, used: list[range]) -> None:
    runs = [run for node in m.memory.nodes for run in node.buddy.runs()]
    _equal("free frames in the buddy allocator", sum(end - start for start, end in runs), free)
    at = 0
    for start, end in runs:
        if start < at:
            raise ConservationError(f"frame {start:#x} is free twice")
        at = end
    for start, end in runs:
        following = bisect_right(used, start, key=lambda run: run.stop)
        if following < len(used) and used[following].start < end:
            frame = max(used[following].start, start)
            raise ConservationError(f"frame {frame:#x} is mapped and free")


def _check_pools(m: Machine) -> None:
    for h in m.hstates:
        for nid in range(h.nodes):
            listed = len(h.hugepage_freelists[nid])
            _equal(f"free huge pages of order {h.order}", listed, h.free_huge_pages_node[nid])
