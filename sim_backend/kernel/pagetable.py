# SPDX-License-Identifier: Apache-2.0
"""The kernel's page table (init_mm), from pgd down to pte, for the part that maps vmemmap.

An entry is a table of the next level, a number, or ``NONE``. A number is what the hardware
sees: a frame number above some protection bits. Addresses and shifts are in bytes and bits.
"""

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast

from probes.geometry import Geometry
from sim_backend.kernel.progression import progression

VMEMMAP_START = 0xFFFFEA0000000000
"""Where struct pages begin: x86-64's address without KASLR, used for every geometry."""

NONE = 0
PAGE_PRESENT = 0b001
PAGE_RW = 0b010
PAGE_PSE = 0b100
"""In a pmd: this entry maps a whole PMD_SIZE itself."""
PAGE_KERNEL = PAGE_PRESENT | PAGE_RW
PAGE_KERNEL_RO = PAGE_PRESENT
_PFN_SHIFT = 12
_VIRTUAL_BITS = 48


def mk_pte(pfn: int, prot: int) -> int:
    """Make an entry that maps ``pfn``."""
    return pfn << _PFN_SHIFT | prot


def pte_pfn(entry: int) -> int:
    """The frame that ``entry`` maps."""
    return entry >> _PFN_SHIFT


def pte_write(entry: int) -> bool:
    """Whether ``entry`` may be written through."""
    return bool(entry & PAGE_RW)


def mk_ptes(pfns: range, prot: int) -> "array[int]":
    """Make entries that map ``pfns``, a run up or down, in their order."""
    step = (pfns.step << _PFN_SHIFT) if len(pfns) > 1 else 0
    return _words(progression(mk_pte(pfns[0], prot), step, len(pfns)))


def _words(little_endian: bytes) -> "array[int]":
    words = array("Q", little_endian)
    if sys.byteorder == "big":
        words.byteswap()
    return words


class PteTable:
    """The lowest level: entries are numbers, as many bytes as in a real table.

    Entries are made when the first of them is changed: most of a large machine never is.
    """

    __slots__ = ("_entries", "_pfns", "frame")

    def __init__(self, pfns: range, size: int, frame: int) -> None:
        """Map ``pfns`` with the first of ``size`` entries; the table fills ``frame`` itself."""
        self._pfns = pfns
        self._entries = array("Q", bytes(8 * size)) if len(pfns) < size else None
        if self._entries is not None and pfns:
            self._entries[: len(pfns)] = mk_ptes(pfns, PAGE_KERNEL)
        self.frame = frame

    def get(self, index: int) -> int:
        """Read one entry."""
        if self._entries is None:
            return mk_pte(self._pfns[index], PAGE_KERNEL)
        return self._entries[index]

    def set_run(self, index: int, values: "array[int]") -> None:
        """Write ``values`` from entry ``index`` on."""
        if self._entries is None:
            whole = len(values) == len(self._pfns)
            self._entries = values if whole else mk_ptes(self._pfns, PAGE_KERNEL)
        self._entries[index : index + len(values)] = values

    def rising(self, index: int, most: int, step: int) -> int:
        """How many entries from ``index`` on, up to ``most``, rise by ``step`` from the first."""
        if self._entries is None:
            return most if step == 1 << _PFN_SHIFT else 1
        entries, first = self._entries, self._entries[index]
        if entries[index + most - 1] == first + (most - 1) * step:  # then they all do, most likely
            run = _words(progression(first, step, most))
            if entries[index : index + most] == run:
                return most
        length = 1
        while length < most and entries[index + length] == first + length * step:
            length += 1
        return length

    def mapped_runs(self) -> Iterator[range]:
        """The frames that entries map, in their order; those that equal neighbours share, once."""
        if self._entries is None:
            yield self._pfns
            return
        index = 0
        while (left := len(self._entries) - index) > 0:
            pfn = pte_pfn(self._entries[index])
            count = self.rising(index, left, 1 << _PFN_SHIFT)
            if self._entries[index]:
                yield range(pfn, pfn + count)
            index += count if count > 1 else self.rising(index, left, 0)


class Directory:
    """A level above it: entries are tables, huge mappings or ``NONE``."""

    __slots__ = ("entries", "frame")

    def __init__(self, size: int, frame: int | None) -> None:
        """``frame`` is None for a folded level, which takes no memory."""
        self.entries: list[Entry] = [NONE] * size
        self.frame = frame


Entry = Directory | PteTable | int

T = TypeVar("T", bound=Entry)


class Slot(Generic[T]):
    """A pointer to one entry: pgd_t \\*, p4d_t \\*, pud_t \\* or pmd_t \\*."""

    __slots__ = ("entries", "index")

    def __init__(self, entries: list[T], index: int) -> None:
        self.entries = entries
        self.index = index

    def get(self) -> T:
        """Read the entry."""
        return self.entries[self.index]

    def set(self, value: T) -> None:
        """Write the entry (pmd_populate_kernel)."""
        self.entries[self.index] = value

    def step(self) -> None:
        """Go on to the next entry (``pmd++``)."""
        self.index += 1


class PteSlot:
    """pte_t \\*: a pointer to one PTE, or to a run of them."""

    __slots__ = ("index", "table")

    def __init__(self, table: PteTable, index: int) -> None:
        self.table = table
        self.index = index

    def get(self) -> int:
        """Read the PTE."""
        return self.table.get(self.index)

    def set(self, value: int) -> None:
        """Write the PTE (set_pte_at)."""
        self.set_run(array("Q", (value,)))

    def set_run(self, values: "array[int]") -> None:
        """Write as many PTEs as there are ``values``."""
        self.table.set_run(self.index, values)

    def step(self, count: int = 1) -> None:
        """Go on to the next PTE (``pte++``), or over a run of them."""
        self.index += count

    def consecutive(self, most: int) -> int:
        """How many PTEs, up to ``most``, map one frame after the other in the same way."""
        return self.table.rising(self.index, most, 1 << _PFN_SHIFT)

    def equal(self, most: int) -> int:
        """How many PTEs, up to ``most``, are the same."""
        return self.table.rising(self.index, most, 0)


@dataclass(frozen=True)
class Level:
    """One level above the pte: what one entry spans (2^shift bytes), and entries per table."""

    shift: int
    entries: int

    def index(self, addr: int) -> int:
        """Which entry ``addr`` falls into."""
        return addr >> self.shift & self.entries - 1

    def addr_end(self, addr: int, end: int) -> int:
        """Where the entry of ``addr`` ends, or ``end`` if that comes first."""
        return min(((addr >> self.shift) + 1) << self.shift, end)


class Mapping(NamedTuple):
    """What one page of vmemmap is mapped to."""

    addr: int
    pfn: int
    writable: bool


class PageTable:
    """init_mm.pgd, with 48-bit addresses. Levels that a page size has no use for are folded."""

    def __init__(self, geometry: Geometry) -> None:
        self.page_shift = geometry.page_shift
        per_table = geometry.ptes_per_table
        bits = per_table.bit_length() - 1
        pmd = self.page_shift + bits
        top = pmd + (_VIRTUAL_BITS - 1 - pmd) // bits * bits
        self.pgd_level = Level(top, 1 << (_VIRTUAL_BITS - top))
        self.p4d_level = Level(top, 1)
        self.pud_level = Level(pmd + bits, per_table) if top > pmd + bits else self.p4d_level
        self.pmd_level = Level(pmd, per_table)
        self.ptrs_per_pte = per_table
        self._pgd = Directory(self.pgd_level.entries, None)

    def pgd_offset_k(self, addr: int) -> Slot[Entry]:
        """The pgd entry of ``addr``."""
        return Slot(self._pgd.entries, self.pgd_level.index(addr))

    def p4d_offset(self, pgd: Slot[Entry], addr: int) -> Slot[Entry]:
        """The p4d entry of ``addr`` below ``pgd``, which must not be none."""
        return Slot(_directory(pgd).entries, self.p4d_level.index(addr))

    def pud_offset(self, p4d: Slot[Entry], addr: int) -> Slot[Entry]:
        """The pud entry of ``addr`` below ``p4d``, which must not be none."""
        return Slot(_directory(p4d).entries, self.pud_level.index(addr))

    def pmd_offset(self, pud: Slot[Entry], addr: int) -> Slot[Entry]:
        """The pmd entry of ``addr`` below ``pud``, which must not be none."""
        return Slot(_directory(pud).entries, self.pmd_level.index(addr))

    def pte_offset_kernel(self, pmd: Slot[Entry], addr: int) -> PteSlot:
        """The pte of ``addr`` below ``pmd``, which must be neither none nor huge."""
        table = cast(PteTable, pmd.get())
        return PteSlot(table, addr >> self.page_shift & self.ptrs_per_pte - 1)

    def pmd_off_k(self, addr: int) -> Slot[Entry]:
        """The pmd entry of ``addr``, straight from the top."""
        pgd = self.pgd_offset_k(addr)
        return self.pmd_offset(self.pud_offset(self.p4d_offset(pgd, addr), addr), addr)

    def virt_to_kpte(self, addr: int) -> PteSlot:
        """The pte of ``addr``, straight from the top; not where a huge page maps it."""
        return self.pte_offset_kernel(self.pmd_off_k(addr), addr)

    def translate(self, addr: int) -> Mapping:
        """What the page at ``addr`` is mapped to, by a pte or by a huge pmd."""
        pmd = self.pmd_off_k(addr)
        entry = pmd.get()
        if isinstance(entry, int):
            page = addr >> self.page_shift & self.ptrs_per_pte - 1
            return Mapping(addr, pte_pfn(entry) + page, pte_write(entry))
        pte = self.pte_offset_kernel(pmd, addr).get()
        return Mapping(addr, pte_pfn(pte), pte_write(pte))

    def mapped_runs(self) -> Iterator[range]:
        """The frames that are mapped, by address; a shared one comes more than once."""
        for entry in _walk(self._pgd):
            if isinstance(entry, PteTable):
                yield from entry.mapped_runs()
            elif isinstance(entry, int):
                yield range(pte_pfn(entry), pte_pfn(entry) + self.ptrs_per_pte)

    def table_frames(self) -> Iterator[int]:
        """Frames that the tables below the pgd fill themselves."""
        for entry in _walk(self._pgd):
            if not isinstance(entry, int) and entry.frame is not None:
                yield entry.frame


def _directory(slot: Slot[Entry]) -> Directory:
    return cast(Directory, slot.get())


def pmd_leaf(pmd: Slot[Entry]) -> bool:
    """Whether ``pmd`` maps a huge page itself."""
    entry = pmd.get()
    return isinstance(entry, int) and bool(entry & PAGE_PSE)


def _walk(directory: Directory) -> Iterator[Entry]:
    for entry in directory.entries:
        if entry != NONE:
            yield entry
            if isinstance(entry, Directory):
                yield from _walk(entry)
