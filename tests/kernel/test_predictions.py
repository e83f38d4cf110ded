# SPDX-License-Identifier: Apache-2.0
"""Predictions, and the reader of page tables, without a kernel: on one that is made up."""

import io
import struct
from pathlib import Path

import pytest

from probes.geometry import Geometry
from probes.operations import parse_operation
from sim_backend.kernel.sim_kernel import SimKernel
from tests.kernel.predictions import new_tables, parts_with_huge_pages, predicted
from tests.kernel.programs.vmemmap_tables import Kcore, tables

STORY = ("hvo off", "grow 2MB 5", "shrink 2MB 5", "hvo on", "grow 2MB 23", "grow 1GB 1")


@pytest.mark.parametrize(
    ("reserved", "operations", "frames", "least", "most"),
    [
        (2, STORY, 138 + 4094, 8, 23 + 8),
        (1, STORY, 161 + 4095, 8, 23 + 8),
        (1, (*STORY, "shrink 2MB 23", "shrink 1GB 1"), 0, 8, 23 + 8),
        (1, ("hvo on", "grow 2MB 509"), 3563, 8, 509),
        (1, ("hvo on", "grow 1GB 1"), 4095, 8, 8),
        (1, ("hvo on", "grow 2MB 23", "hvo off", "grow 2MB 5"), 161, 1, 23),
        (1, ("grow 2MB 23",), 0, 0, 0),
    ],
)
def test_what_operations_leave(
    reserved: int, operations: tuple[str, ...], frames: int, least: int, most: int
) -> None:
    geometry = Geometry(reserved_pages=reserved)
    assert predicted(geometry, map(parse_operation, operations)) == (frames, least, most)


@pytest.mark.parametrize("generation", ["5.14", "6.0", "6.7", "7.1"])
@pytest.mark.parametrize("operations", [STORY, (*STORY, "shrink 2MB 23", "shrink 1GB 1")])
def test_the_simulated_kernel_accounts_for_it(generation: str, operations: tuple[str, ...]) -> None:
    kernel = SimKernel(generation, memory_per_node=4 << 30)
    before = kernel.accounts()
    for text in operations:
        kernel.operate(parse_operation(text))
    after = kernel.accounts()
    wanted = predicted(kernel.geometry, map(parse_operation, operations))
    assert before.memmap - after.memmap == wanted.frames
    assert wanted.tables_least <= after.page_tables - before.page_tables <= wanted.tables_most


@pytest.mark.parametrize(
    "operations",
    [
        ("hvo on", "grow 2MB 23", "hvo off", "grow 2MB 5", "shrink 2MB 3"),
        ("hvo on", "overcommit 2MB 5"),
        ("hvo on", "grow 1GB 1", "demote 1GB 1"),
    ],
)
def test_what_can_not_be_told_is_not_guessed(operations: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="can't be told beforehand"):
        predicted(Geometry(), map(parse_operation, operations))


def test_where_huge_pages_lie(tmp_path: Path) -> None:
    flags = [0] * (32768 * 3)
    for pfn in (512, 32768 * 2, 32768 * 2 + 512):
        flags[pfn] = 1 << 17
    flags[32768 + 1] = 1 << 17  # no huge page begins there
    file = tmp_path / "kpageflags"
    file.write_bytes(struct.pack(f"={len(flags)}Q", *flags))
    assert parts_with_huge_pages(file) == {0, 2}
    assert new_tables({0}, {0, 2}) == {2}


VMEMMAP = 0xFFFFEA0000000000
DIRECT = 0xFFFF888000000000
TEXT = 0xFFFFFFFF81000000
PRESENT_TABLE, HUGE = 0x63, 0xE3


def kcore(levels: int, pmds: list[int]) -> Kcore:
    """A kernel of 512 MB whose vmemmap begins with ``pmds``; tables lie at 1 MB and above."""
    tables_of = {0x100000 + i * 4096: [0] * 512 for i in range(levels)}
    addresses = list(tables_of)
    for i, shift in enumerate((48, 39, 30)[3 - (levels - 1) :]):
        tables_of[addresses[i]][VMEMMAP >> shift & 511] = addresses[i + 1] | PRESENT_TABLE
    tables_of[addresses[-1]][: len(pmds)] = pmds
    ram = bytearray(512 << 12)
    for address, words in tables_of.items():
        ram[address - 0x100000 : address - 0x100000 + 4096] = struct.pack("<512Q", *words)
    notes = (
        f"SYMBOL(swapper_pg_dir)={TEXT:x}\nNUMBER(pgtable_l5_enabled)={int(levels == 4)}\n"
    ).encode()
    top = struct.pack("<512Q", *tables_of[addresses[0]])
    none = (1 << 64) - 1
    at = 4096
    headers, body = [], b""
    for kind, vaddr, paddr, size, blob in (
        (4, 0, 0, len(notes), notes),
        (1, TEXT, 0x1000000, 4096, top),
        (1, 0xFFFFC90000000000, none, 1 << 45, b""),
        (1, DIRECT + 0x100000, 0x100000, (512 << 20) - 0x100000, bytes(ram)),
        (1, VMEMMAP, none, 8 << 20, b""),
        (1, 0xFFFFFFFFC0000000, none, 1 << 30, b""),
    ):
        headers.append(struct.pack("<IIQQQQQQ", kind, 0, at, vaddr, paddr, size, size, 4096))
        at, body = at + len(blob), body + blob
    elf = b"\x7fELF" + bytes(28) + struct.pack("<Q", 64) + bytes(14)
    elf += struct.pack("<HH", 56, len(headers)) + bytes(64 - len(elf) - 4)
    return Kcore(io.BytesIO((elf + b"".join(headers)).ljust(4096, b"\0") + body))


@pytest.mark.parametrize("levels", [3, 4])
def test_tables_are_told_from_huge_mappings(levels: int) -> None:
    pmds = [0x200000 | HUGE, 0x180000 | PRESENT_TABLE, 0, 0x181000 | PRESENT_TABLE]
    assert list(tables(kcore(levels, pmds))) == [1, 3]


def test_what_lies_beyond_memory_is_not_looked_at() -> None:
    assert list(tables(kcore(3, [0x180000 | PRESENT_TABLE] * 9))) == [0, 1, 2, 3]


def test_without_vmemmap_it_says_so() -> None:
    found = kcore(3, [])
    found.segments = [s for s in found.segments if s.vaddr != VMEMMAP]
    with pytest.raises(LookupError, match="no segment of vmemmap"):
        list(tables(found))
