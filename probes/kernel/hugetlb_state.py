# SPDX-License-Identifier: Apache-2.0
"""The kernel's HugeTLB state: pools, switch, memmap pages. Needs neither probes nor privileges.

- A value that the kernel does not export is absent, never 0.
- A missing file of a node is never replaced by the count of the whole machine.
- A counter that the kernel decremented below zero is negative (``parse_count``).
- A malformed file raises ``ValueError`` with its path; a folder that can't be listed raises
  ``OSError``.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from mmap import PAGESIZE
from pathlib import Path

from probes.geometry import KIB
from probes.kernel.btf import Struct, read_structs
from probes.kernel.host import (
    Host,
    has_numa,
    online_nodes,
    parse_count,
    parse_digits,
    read_count,
    read_number,
    read_text,
)
from probes.kernel.kernel_bugs import STRUCTS as BUG_STRUCTS
from probes.kernel.kernel_bugs import kernel_bugs
from probes.kernel.memmap import STRUCTS as MEMMAP_STRUCTS
from probes.kernel.memmap import MemmapSavings
from probes.observation import Absent, Pool, Pools

_POOL_FILES: Mapping[str, str] = {
    "total": "nr_hugepages",
    "free": "free_hugepages",
    "surplus": "surplus_hugepages",
}
"""Files of each node (Documentation/admin-guide/mm/hugetlbpage.rst), which lack reserved pages."""

_NODE_BITS = 32
"""Counters of a node are unsigned int, those of the machine unsigned long (struct hstate)."""

_MEMMAP_COUNTERS: Mapping[str, str] = {
    "nr_memmap_boot_pages": "boot",
    "nr_memmap_pages": "runtime",
}


def huge_page_sizes(host: Host) -> tuple[int, ...]:
    """Huge page sizes of the kernel in bytes, ascending; empty without hugetlbfs.

    Raises ``OSError`` if they can't be listed.
    """
    return tuple(sorted(_sizes_in(host.sys / "kernel/mm/hugepages")))


class KernelState:
    """``probes.observer.HugetlbState`` of a kernel, from its /proc and /sys."""

    def __init__(self, host: Host, page_size: int = PAGESIZE) -> None:
        """Read nothing yet; ``page_size`` is the base page size of ``host`` in bytes."""
        self._host = host
        self._savings = MemmapSavings(host, page_size, self._struct_sizes)

    def pools(self) -> Pools:
        """Counts of each node that has a pool, and counts that exist only for the machine.

        Before Linux 6.1 a node without memory has no pool (mm/hugetlb.c,
        hugetlb_register_all_nodes). On a kernel without NUMA the whole machine is node 0.
        """
        return Pools(tuple(self._by_node()), self._of_sizes("resv_hugepages"), self._overcommit())

    def _by_node(self) -> Iterator[Pool]:
        if not has_numa(self._host):
            yield from _pools_in(self._machine, node=0, bits=64)
            return
        nodes = self._host.sys / "devices/system/node"
        for node in online_nodes(self._host):
            yield from _pools_in(nodes / f"node{node}/hugepages", node, _NODE_BITS)

    def totals(self) -> Mapping[int, int]:
        """Huge pages of each size on the whole machine, including nodes without pool files."""
        return self._of_sizes("nr_hugepages")

    def switch(self) -> bool | Absent:
        """Value of the sysctl (Linux 5.19 and later)."""
        path = self._host.proc / "sys/vm/hugetlb_optimize_vmemmap"
        value = read_number(path)
        if value not in (None, 0, 1):
            raise ValueError(f"{path}: invalid value {value} (expected 0 or 1)")
        return Absent(f"{path} does not exist (Linux 5.19)") if value is None else value == 1

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
                    raise ValueError(f"{path}: not a number: {line[:40]!r}") from None
        return found

    def saved_bytes(self, memmap_pages: Mapping[str, int]) -> int | Absent:
        """Bytes that HVO saves; see ``probes.kernel.memmap``."""
        return self._savings.saved_bytes(memmap_pages)

    def kernel_bugs(self) -> tuple[str, ...] | Absent:
        """Bugs that the kernel's BTF shows."""
        structs = self._structs
        if structs is None:
            return Absent(f"{self._btf} can't be read")
        return kernel_bugs(lambda name, member: name in structs and member in structs[name].members)

    def _struct_sizes(self) -> Mapping[str, int]:
        return {name: found.size for name, found in (self._structs or {}).items()}

    @cached_property
    def _structs(self) -> Mapping[str, Struct] | None:
        """BTF does not change while the kernel runs, so it is read once."""
        return read_structs(self._btf, (*MEMMAP_STRUCTS, *BUG_STRUCTS))

    @property
    def _btf(self) -> Path:
        return self._host.sys / "kernel/btf/vmlinux"

    @property
    def _machine(self) -> Path:
        return self._host.sys / "kernel/mm/hugepages"

    def _overcommit(self) -> Mapping[int, int]:
        """nr_overcommit_hugepages of each size; values of 2**63 and above mean no limit."""
        limits = self._of_sizes("nr_overcommit_hugepages")
        return {size: pages for size, pages in limits.items() if pages >= 0}

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
