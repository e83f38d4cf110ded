# SPDX-License-Identifier: Apache-2.0
"""The kernel's own state: pools, the switch, memmap pages. Needs no probe and no privilege.

What a kernel does not show is None or left out, never 0; a node's missing file is never answered
with the whole machine's. A count that the kernel took below zero is negative (``parse_count``). A
file that is there and says something else than it should is a ``ValueError`` with its name, a
folder that may not be listed an ``OSError``.
"""

from collections.abc import Iterator, Mapping
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple, Protocol

from probes.counters import Counters
from probes.geometry import KIB
from probes.host import (
    Host,
    has_numa,
    online_nodes,
    parse_count,
    parse_digits,
    read_count,
    read_number,
    read_text,
)
from probes.memmap import MemmapSavings

_POOL_FILES: Mapping[str, str] = {
    "total": "nr_hugepages",
    "free": "free_hugepages",
    "surplus": "surplus_hugepages",
}
"""Per node (Documentation/admin-guide/mm/hugetlbpage.rst). Reserved pages belong to no node."""

_NODE_BITS = 32
"""Counts of a node are unsigned int, those of the machine unsigned long (struct hstate)."""

_MEMMAP_COUNTERS: Mapping[str, str] = {
    "nr_memmap_boot_pages": "boot",
    "nr_memmap_pages": "runtime",
}

_TRIES = 5


class Pool(NamedTuple):
    """One pool count: ``size`` in bytes, ``state`` total, free or surplus, ``pages`` of them."""

    size: int
    node: int
    state: str
    pages: int


class State(Protocol):
    """What the exporter asks about the machine; the simulator answers it too."""

    def pools(self) -> Iterator[Pool]:
        """Every pool count by size, node and state."""

    def reserved(self) -> Mapping[int, int]:
        """Huge pages promised to mappings but not yet used, by size; they belong to no node."""

    def overcommit(self) -> Mapping[int, int]:
        """Most surplus huge pages that the pool may have, by size; absent where it is no limit."""

    def enabled(self) -> bool | None:
        """The HVO switch; None where the kernel has none."""

    def memmap_pages(self) -> Mapping[str, int]:
        """Frames that hold struct pages, by allocator: ``boot`` and ``runtime``."""

    def saved_bytes(self) -> int | None:
        """Memory that HVO saves on the whole machine; None where it can't be known."""


def huge_page_sizes(host: Host) -> tuple[int, ...]:
    """Huge page sizes that the kernel has, in bytes, ascending; empty without hugetlbfs.

    Raises ``OSError`` where they may not be listed.
    """
    return tuple(sorted(_sizes_in(host.sys / "kernel/mm/hugepages")))


class Counting(Protocol):
    """Whoever has counters; a ``probes.backend.Backend`` does."""

    def counters(self) -> Counters:
        """Totals since the start."""


class MemmapAccounts(Protocol):
    """Whoever accounts for the frames that hold struct pages; every ``State`` does."""

    def memmap_pages(self) -> Mapping[str, int]:
        """As ``State.memmap_pages``."""


class Drift:
    """The probes' count held against the kernel's own: two sources, one truth.

    Frames freed leave the memmap: net frames freed plus memmap frames never changes, unless a probe
    missed something, or something else moves the memmap (memory hotplug, device memory).
    """

    def __init__(self, counting: Counting, accounts: MemmapAccounts) -> None:
        """Nothing is read before ``mark``."""
        self._counting = counting
        self._accounts = accounts
        self._baseline: _Sum | None = None

    def mark(self) -> None:
        """Take what is so now as right: call it once the probes are attached."""
        self._baseline = self._sum()

    def frames(self) -> int | None:
        """Net frames freed that the kernel does not account for; 0 is right.

        None where kernel or probes do not show enough, and while the counters move too fast. In
        the midst of a batch it is not 0: its frames are freed at its end (Linux 6.7). It starts
        from 0 again where the counters do.
        """
        now = self._sum()
        if now is None or self._baseline is None:
            return None
        if now.epoch != self._baseline.epoch:
            self._baseline = now
        return now.frames - self._baseline.frames

    def _sum(self) -> "_Sum | None":
        for _ in range(_TRIES):
            before = self._counting.counters()
            freed = _net_freed(before)
            memmap = self._accounts.memmap_pages()
            if freed is None or set(memmap) != {"boot", "runtime"}:
                return None
            after = self._counting.counters()
            if (after.epoch, _net_freed(after)) == (before.epoch, freed):
                return _Sum(before.epoch, freed + sum(memmap.values()))
        return None


class _Sum(NamedTuple):
    """Net frames freed plus memmap frames, and the epoch of the counters."""

    epoch: int
    frames: int


def _net_freed(counters: Counters) -> int | None:
    freed = counters.total("frames_freed")
    head = counters.total("frames_allocated", "head")
    restored = counters.total("frames_allocated", "restore")
    if freed is None or head is None or restored is None:
        return None
    return freed - head - restored


class KernelState:
    """``State`` of the running kernel, from /proc and /sys."""

    def __init__(self, host: Host, page_size: int = PAGESIZE) -> None:
        """Read below ``host``, whose base pages have ``page_size`` bytes, when asked."""
        self._host = host
        self._savings = MemmapSavings(host, page_size)

    def pools(self) -> Iterator[Pool]:
        """Counts of each node that has a pool.

        Before Linux 6.1 a node without memory has none (mm/hugetlb.c, hugetlb_register_all_nodes).
        On a kernel without NUMA the whole machine is node 0.
        """
        if not has_numa(self._host):
            yield from _pools_in(self._machine, node=0, bits=64)
            return
        nodes = self._host.sys / "devices/system/node"
        for node in online_nodes(self._host):
            yield from _pools_in(nodes / f"node{node}/hugepages", node, _NODE_BITS)

    def totals(self) -> Mapping[int, int]:
        """Huge pages of each size on the whole machine, whichever nodes show theirs."""
        return self._of_sizes("nr_hugepages")

    def reserved(self) -> Mapping[int, int]:
        """resv_hugepages of each size."""
        return self._of_sizes("resv_hugepages")

    def overcommit(self) -> Mapping[int, int]:
        """nr_overcommit_hugepages of each size; half of what it can hold is no limit at all."""
        limits = self._of_sizes("nr_overcommit_hugepages")
        return {size: pages for size, pages in limits.items() if pages >= 0}

    def enabled(self) -> bool | None:
        """The sysctl (Linux 5.19 and later); None where there is none."""
        path = self._host.proc / "sys/vm/hugetlb_optimize_vmemmap"
        switch = read_number(path)
        if switch not in (None, 0, 1):
            raise ValueError(f"{path} is neither 0 nor 1: {switch}")
        return None if switch is None else switch == 1

    def memmap_pages(self) -> Mapping[str, int]:
        """nr_memmap_boot_pages and nr_memmap_pages of /proc/vmstat (Linux 6.11 and later)."""
        path = self._host.proc / "vmstat"
        found = {}
        for line in (read_text(path) or "").splitlines():
            name, _, value = line.partition(" ")
            if name in _MEMMAP_COUNTERS:
                try:
                    found[_MEMMAP_COUNTERS[name]] = parse_count(value)
                except ValueError:
                    raise ValueError(f"{path} has no number here: {line[:40]!r}") from None
        return found

    def saved_bytes(self) -> int | None:
        """See ``probes.memmap``, which also says when it is None."""
        return self._savings.saved_bytes(self.memmap_pages())

    @property
    def _machine(self) -> Path:
        return self._host.sys / "kernel/mm/hugepages"

    def _of_sizes(self, name: str) -> Mapping[int, int]:
        found = {}
        for size in huge_page_sizes(self._host):
            pages = read_count(self._machine / f"hugepages-{size // KIB}kB/{name}")
            if pages is not None:
                found[size] = pages
        return found


def _pools_in(folder: Path, node: int, bits: int) -> Iterator[Pool]:
    for size in sorted(_sizes_in(folder)):
        for state, name in _POOL_FILES.items():
            pages = read_count(folder / f"hugepages-{size // KIB}kB/{name}", bits)
            if pages is not None:
                yield Pool(size, node, state, pages)


def _sizes_in(folder: Path) -> Iterator[int]:
    try:
        names = [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.startswith("hugepages-") and name.endswith("kB"):
            try:
                size = parse_digits(name.removeprefix("hugepages-").removesuffix("kB"))
            except ValueError:
                continue
            if size:
                yield size * KIB
