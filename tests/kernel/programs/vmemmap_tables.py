# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: which parts of vmemmap are mapped by a page table, and not by a huge pmd.

A table that splitting made is in no account of the kernel's before Linux 6.16 (there in
nr_page_table_pages, among all others); so the page table itself is read, through /proc/kcore.
x86-64 with a struct page of 64 bytes. ``python -m tests.kernel.programs.vmemmap_tables``
"""

import json
import re
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

PAGE = 4096
STRUCT_PAGE = 64
PMD_SIZE = 512 * PAGE
PT_LOAD, PT_NOTE = 1, 4
NO_ADDRESS = (1 << 64) - 1
"""p_paddr of what is no part of the direct mapping (fs/proc/kcore.c)."""

_PRESENT, _PSE = 1 << 0, 1 << 7
_EMPTY = (0,) * 512
_FRAME = 0x000F_FFFF_FFFF_F000
_GIB = 1 << 30
_KERNEL_IMAGE = 0xFFFF_FFFF_8000_0000
_VMEMMAP_MOST = 1 << 40
"""More than this many bytes is vmalloc, not vmemmap."""


class Segment(NamedTuple):
    """A program header of /proc/kcore."""

    kind: int
    offset: int
    vaddr: int
    paddr: int
    size: int


class Kcore:
    """The kernel's memory as an ELF file (fs/proc/kcore.c)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        header = file.read(64)
        (at,) = struct.unpack_from("<Q", header, 32)
        entry_size, count = struct.unpack_from("<HH", header, 54)
        file.seek(at)
        entries = [file.read(entry_size) for _ in range(count)]
        self.segments = [_segment(entry) for entry in entries]

    def info(self) -> dict[str, int]:
        """VMCOREINFO: symbols in hex, numbers in decimal."""
        notes = b"".join(self._read(s.offset, s.size) for s in self.segments if s.kind == PT_NOTE)
        symbols = re.findall(rb"SYMBOL\((\w+)\)=([0-9a-f]+)\n", notes)
        numbers = re.findall(rb"NUMBER\((\w+)\)=(\d+)\n", notes)
        return {name.decode(): int(value, 16) for name, value in symbols} | {
            name.decode(): int(value) for name, value in numbers
        }

    @property
    def ram(self) -> list[Segment]:
        """Memory itself, in the direct mapping."""
        return [
            s
            for s in self.segments
            if s.kind == PT_LOAD and s.paddr != NO_ADDRESS and s.vaddr < _KERNEL_IMAGE
        ]

    @property
    def vmemmap(self) -> int:
        """Where struct pages begin. ``LookupError`` where no segment tells."""
        starts = [
            s.vaddr
            for s in self.segments
            if s.kind == PT_LOAD
            and s.paddr == NO_ADDRESS
            and s.vaddr < _KERNEL_IMAGE
            and s.vaddr % _GIB == 0
            and s.size < _VMEMMAP_MOST
        ]
        if not starts:
            raise LookupError("kcore has no segment of vmemmap")
        return min(starts)

    def virtual_page(self, vaddr: int) -> tuple[int, ...]:
        """512 words at an address of the kernel's."""
        for s in self.segments:
            if s.kind == PT_LOAD and s.vaddr <= vaddr < s.vaddr + s.size:
                return self._words(s.offset + vaddr - s.vaddr)
        raise LookupError(f"kcore lacks {vaddr:#x}")

    def physical_page(self, paddr: int) -> tuple[int, ...]:
        """512 words at an address of memory."""
        for s in self.ram:
            if s.paddr <= paddr < s.paddr + s.size:
                return self._words(s.offset + paddr - s.paddr)
        raise LookupError(f"kcore lacks memory at {paddr:#x}")

    def _words(self, offset: int) -> tuple[int, ...]:
        return struct.unpack("<512Q", self._read(offset, PAGE))

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)


def tables(kcore: Kcore) -> Iterator[int]:
    """Parts of vmemmap (2 MB each, from 0) that a page table maps."""
    info = kcore.info()
    shifts = (48, 39, 30) if info.get("pgtable_l5_enabled") else (39, 30)
    top = kcore.virtual_page(info["swapper_pg_dir"])
    end = max(s.paddr + s.size for s in kcore.ram)
    base = kcore.vmemmap
    table_at = cache(kcore.physical_page)
    for part in range(-(-end // PAGE * STRUCT_PAGE // PMD_SIZE)):
        addr = base + part * PMD_SIZE
        table = top
        for shift in shifts:
            entry = table[addr >> shift & 511]
            table = table_at(entry & _FRAME) if entry & _PRESENT else _EMPTY
        entry = table[addr >> 21 & 511]
        if entry & _PRESENT and not entry & _PSE:
            yield part


def _segment(entry: bytes) -> Segment:
    kind, _, offset, vaddr, paddr, size = struct.unpack_from("<IIQQQQ", entry)
    return Segment(kind, offset, vaddr, paddr, size)


def main() -> None:
    """Print the parts as a JSON list."""
    with Path("/proc/kcore").open("rb") as file:
        print(json.dumps(list(tables(Kcore(file)))))  # noqa: T201 - its only output


if __name__ == "__main__":
    main()
