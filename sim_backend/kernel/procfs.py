# SPDX-License-Identifier: Apache-2.0
"""The /proc and /sys of a simulated machine, as files that any reader of the real ones can read.

Only what the simulation knows is there. A kernel shows the switch from 5.19 on and the memmap
counters from 6.11 on, so the files of a generation have them if its first release had.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from probes.geometry import KIB, MIB
from probes.kernel.host import Host
from sim_backend.kernel.frames import Node
from sim_backend.kernel.hstate import Hstate
from sim_backend.kernel.hugetlb_vmemmap import free_vmemmap_pages_per_hpage
from sim_backend.kernel.sim_kernel import SimKernel

_SECTION_4K, _SECTION_64K = 128 * MIB, 512 * MIB
"""Bytes of a section of memory: SECTION_SIZE_BITS of x86-64, and of arm64 with 64K pages."""

_BTF_KIND_STRUCT = 4 << 24

Files = Iterator[tuple[str, str]]
"""Paths below the root, and what is in them."""


class MachineFiles:
    """A folder with ``proc`` and ``sys``; ``update`` brings it up to date with the kernel."""

    def __init__(self, kernel: SimKernel, root: Path, machine: str = "x86_64") -> None:
        """Write everything below ``root``. ``machine`` is what uname calls the architecture.

        Raises ``OSError`` when that can't be written.
        """
        self._kernel = kernel
        self._root = root
        self._written: dict[str, str] = {}
        self.host = Host(
            proc=root / "proc",
            sys=root / "sys",
            modules=root / "modules",
            release=f"{kernel.generation.name}-simulated",
            machine=machine,
            boot=root / "boot",
        )
        """Give this to the readers."""
        self._write(_hardware(kernel))
        btf = root / "sys/kernel/btf/vmlinux"
        btf.parent.mkdir(parents=True, exist_ok=True)
        btf.write_bytes(_btf_of_struct_page(kernel.geometry.struct_page_size))
        self.update()

    def update(self) -> None:
        """Rewrite what has changed. Raises ``OSError``."""
        self._write(_memory_files(self._kernel))
        self._write(_pool_files(self._kernel))

    def _write(self, files: Files) -> None:
        for name, text in files:
            if self._written.get(name) == text:
                continue
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Readers find the old contents or the new, never a part of them.
            fresh = path.with_name(f".{path.name}.new")
            fresh.write_text(text, encoding="ascii")
            fresh.replace(path)
            self._written[name] = text


def _hardware(kernel: SimKernel) -> Files:
    """What never changes."""
    nodes = _id_list(kernel.nodes)
    for name in ("online", "possible", "has_memory"):
        yield f"sys/devices/system/node/{name}", nodes
    cpus = _id_list(kernel.nodes * kernel.machine.cpus_per_node)
    for name in ("online", "possible", "present"):
        yield f"sys/devices/system/cpu/{name}", cpus
    section = _SECTION_64K if kernel.geometry.page_size == 64 * KIB else _SECTION_4K
    yield "sys/devices/system/memory/block_size_bytes", f"{section:x}\n"
    frames = sum(node.end - node.start for node in kernel.machine.memory.nodes)
    for block in range(-(-frames * kernel.geometry.page_size // section)):
        yield f"sys/devices/system/memory/memory{block}/online", "1\n"


def _memory_files(kernel: SimKernel) -> Files:
    m = kernel.machine
    nodes = m.memory.nodes
    counters = {"nr_free_pages": sum(node.buddy.nr_free for node in nodes)}
    if kernel.generation.memmap_counters:
        counters["nr_memmap_pages"] = m.nr_memmap_pages
        counters["nr_memmap_boot_pages"] = m.nr_memmap_boot_pages
    yield "proc/vmstat", "".join(f"{name} {value}\n" for name, value in counters.items())
    kib = kernel.geometry.page_size // KIB
    yield "proc/meminfo", _meminfo(kernel, kib)
    yield "proc/zoneinfo", "".join(map(_zone, nodes))
    for node in nodes:
        used = node.managed_pages - node.buddy.nr_free
        rows = {"MemTotal": node.managed_pages, "MemFree": node.buddy.nr_free, "MemUsed": used}
        yield (
            f"sys/devices/system/node/node{node.nid}/meminfo",
            "".join(
                f"Node {node.nid} {name}:  {pages * kib:>12} kB\n" for name, pages in rows.items()
            ),
        )
    # The kernel registers it only where a size can be optimised (hugetlb_vmemmap_init).
    if kernel.generation.sysctl and any(free_vmemmap_pages_per_hpage(m, h) for h in m.hstates):
        yield "proc/sys/vm/hugetlb_optimize_vmemmap", f"{kernel.switch():d}\n"


def _meminfo(kernel: SimKernel, kib: int) -> str:
    nodes, hstates = kernel.machine.memory.nodes, kernel.machine.hstates
    rows = [
        _row("MemTotal", sum(node.managed_pages for node in nodes) * kib, " kB"),
        _row("MemFree", sum(node.buddy.nr_free for node in nodes) * kib, " kB"),
    ]
    h = _default_hstate(kernel)
    if h is not None:
        rows += [
            _row("HugePages_Total", h.nr_huge_pages),
            _row("HugePages_Free", h.free_huge_pages),
            _row("HugePages_Rsvd", h.resv_huge_pages),
            _row("HugePages_Surp", h.surplus_huge_pages),
            _row("Hugepagesize", h.size // KIB, " kB"),
        ]
    rows.append(_row("Hugetlb", sum(h.nr_huge_pages * h.size for h in hstates) // KIB, " kB"))
    return "".join(rows)


def _row(name: str, value: int, unit: str = "") -> str:
    return f"{name + ':':<16}{value:>8}{unit}\n"


def _zone(node: Node) -> str:
    frames = node.end - node.start
    return (
        f"Node {node.nid}, zone   Normal\n"
        f"  pages free     {node.buddy.nr_free}\n"
        f"        spanned  {frames}\n"
        f"        present  {frames}\n"
        f"        managed  {node.managed_pages}\n"
    )


def _pool_files(kernel: SimKernel) -> Files:
    for h in kernel.machine.hstates:
        folder = f"hugepages-{h.size // KIB}kB"
        machine_wide = {
            "nr_hugepages": h.nr_huge_pages,
            "nr_hugepages_mempolicy": h.nr_huge_pages,
            "nr_overcommit_hugepages": h.nr_overcommit_huge_pages,
            "free_hugepages": h.free_huge_pages,
            "resv_hugepages": h.resv_huge_pages,
            "surplus_hugepages": h.surplus_huge_pages,
        }
        for name, pages in machine_wide.items():
            yield f"sys/kernel/mm/hugepages/{folder}/{name}", f"{pages}\n"
        for nid in range(h.nodes):
            of_node = {
                "nr_hugepages": h.nr_huge_pages_node[nid],
                "free_hugepages": h.free_huge_pages_node[nid],
                "surplus_hugepages": h.surplus_huge_pages_node[nid],
            }
            for name, pages in of_node.items():
                path = f"sys/devices/system/node/node{nid}/hugepages/{folder}/{name}"
                yield path, f"{pages}\n"
    h_default = _default_hstate(kernel)
    if h_default is not None:
        yield "proc/sys/vm/nr_hugepages", f"{h_default.nr_huge_pages}\n"
        overcommit = h_default.nr_overcommit_huge_pages
        yield "proc/sys/vm/nr_overcommit_hugepages", f"{overcommit}\n"


def _default_hstate(kernel: SimKernel) -> Hstate | None:
    """The size that a pmd maps (HPAGE_SIZE), where the machine has a pool of it."""
    geometry = kernel.geometry
    size = geometry.page_size * geometry.ptes_per_table
    return next((h for h in kernel.machine.hstates if h.size == size), None)


def _id_list(count: int) -> str:
    return "0\n" if count == 1 else f"0-{count - 1}\n"


def _btf_of_struct_page(size: int) -> bytes:
    """BTF (Documentation/bpf/btf.rst) with one type: struct page, its members left out."""
    strings = b"\0page\0"
    types = struct.pack("<III", 1, _BTF_KIND_STRUCT, size)
    header = struct.pack("<HBBI", 0xEB9F, 1, 0, 24)
    sections = struct.pack("<IIII", 0, len(types), len(types), len(strings))
    return header + sections + types + strings
