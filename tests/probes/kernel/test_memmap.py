# SPDX-License-Identifier: Apache-2.0
"""Savings of the whole machine: captured machines, and constructed rare configurations."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from probes.geometry import GIB, KIB, MIB
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState
from probes.observation import Absent
from tests.probes.capture_tree import BTF, restored
from tests.probes.trees import btf, make_host

TREES = Path(__file__).parents[2] / "data/trees"
MEMORY = "sys/devices/system/memory"
PAGE = 4 * KIB
SECTION_FRAMES = 512
"""128 MB of 4 KB pages, 64 bytes each."""

PAGE_STRUCT: Mapping[str, int] = {"page": 64}
WITH_PAGE_EXT = {"page": 64, "page_ext": 8}


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("cloud-6.18-shrunk", 0),
        ("cloud-6.18-23", 23 * 7),
        ("cloud-6.18-23-and-1gb", 23 * 7 + 4095),
    ],
)
def test_savings_of_captured_machines(tmp_path: Path, name: str, frames: int) -> None:
    state = KernelState(restored(tmp_path, TREES / f"{name}.json"), PAGE)
    assert state.saved_bytes(state.memmap_pages()) == frames * PAGE
    assert set(state.pools().reserved) == set(state.pools().overcommit) == {2 * MIB, GIB}


def zone(name: str, present: int, spanned: int | None = None) -> str:
    spanned = present if spanned is None else spanned
    return (
        f"Node 0, zone {name:>8}\n  pages free     1\n        spanned  {spanned}\n"
        f"        present  {present}\n        managed  1\n"
    )


def machine(
    root: Path,
    *,
    block: int = 128 * MIB,
    blocks: int = 8,
    memmap: tuple[int, int] = (8 * SECTION_FRAMES, 0),
    zones: str = zone("DMA32", 8 * 32768),
    structs: Mapping[str, int] | None = PAGE_STRUCT,
    firmware: tuple[tuple[int, int, str], ...] = (),
) -> Host:
    """Write a machine; by default with 1 GB in sections of 128 MB and no savings."""
    files = {
        "proc/vmstat": f"nr_memmap_pages {memmap[1]}\nnr_memmap_boot_pages {memmap[0]}\n",
        "proc/zoneinfo": zones,
        f"{MEMORY}/block_size_bytes": f"{block:x}\n",
        **{f"{MEMORY}/memory{n}/state": "online\n" for n in range(blocks)},
    }
    for n, (start, last, kind) in enumerate(firmware):
        entry = f"sys/firmware/memmap/{n}"
        files[f"{entry}/start"] = f"{start:#x}\n"
        files[f"{entry}/end"] = f"{last:#x}\n"
        files[f"{entry}/type"] = f"{kind}\n"
    host = make_host(root, files)
    if structs is not None:
        (root / BTF).parent.mkdir(parents=True)
        (root / BTF).write_bytes(btf(structs))
    return replace(host, machine="x86_64")


def saved(host: Host, page_size: int = PAGE) -> int:
    found = saved_or_reason(host, page_size)
    assert isinstance(found, int), found
    return found


def saved_or_reason(host: Host, page_size: int = PAGE) -> int | str:
    """Return the saved bytes, or why they are absent."""
    state = KernelState(host, page_size)
    found = state.saved_bytes(state.memmap_pages())
    return found.reason if isinstance(found, Absent) else found


def test_savings_are_freed_frames_minus_new_heads(tmp_path: Path) -> None:
    optimized = machine(tmp_path, memmap=(8 * SECTION_FRAMES - 509 * 8, 509))
    assert saved(optimized) == 509 * 7 * PAGE


def test_a_struct_page_of_128_bytes_doubles_the_memmap(tmp_path: Path) -> None:
    host = machine(tmp_path, structs={"page": 128}, memmap=(8 * 1024 - 15, 0))
    assert saved(host) == 15 * PAGE


def test_hot_added_memory_is_included_before_it_is_online(tmp_path: Path) -> None:
    """nr_memmap_pages has its struct pages at once, while no zone contains it yet."""
    host = machine(tmp_path, blocks=9, memmap=(8 * SECTION_FRAMES, SECTION_FRAMES - 7))
    assert saved(host) == 7 * PAGE


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ("proc/zoneinfo", "can't be read"),
        ("proc/vmstat", "nr_memmap_pages"),
        (BTF, "BTF does not have the size of struct page"),
    ],
)
def test_savings_are_absent_if_a_file_is_missing(tmp_path: Path, missing: str, why: str) -> None:
    host = machine(tmp_path)
    assert saved(host) == 0
    (tmp_path / missing).unlink()
    assert why in str(saved_or_reason(host))


def test_savings_are_absent_before_6_11(tmp_path: Path) -> None:
    host = machine(tmp_path)
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 5000\n")
    assert "nr_memmap_pages, Linux 6.11" in str(saved_or_reason(host))


def test_savings_are_absent_without_memory_hotplug(tmp_path: Path) -> None:
    assert "which memory sections are present" in str(saved_or_reason(machine(tmp_path, blocks=0)))


def test_savings_are_absent_on_an_architecture_with_unknown_section_size(tmp_path: Path) -> None:
    assert "which memory sections are present" in str(
        saved_or_reason(replace(machine(tmp_path), machine="ia64"))
    )


@pytest.mark.parametrize("present", [0, 5])
def test_savings_are_absent_with_device_memory(tmp_path: Path, present: int) -> None:
    zones = zone("DMA32", 8 * 32768) + zone("Device", present, 4096)
    assert "struct pages of device memory" in str(saved_or_reason(machine(tmp_path, zones=zones)))


def test_negative_savings_are_absent(tmp_path: Path) -> None:
    assert "counts 4097 memmap frames (expected 0 to 4096)" in str(
        saved_or_reason(machine(tmp_path, memmap=(8 * SECTION_FRAMES, 1)))
    )


def test_savings_are_absent_if_runtime_pages_may_include_page_ext(tmp_path: Path) -> None:
    """page_ext takes 8 bytes for each of 8 * 32768 pages, 512 frames, so 511 can't include it."""
    few = machine(tmp_path / "few", structs=WITH_PAGE_EXT, memmap=(8 * 512 - 8 * 511, 511))
    assert saved(few) == 7 * 511 * PAGE
    many = (8 * 512 - 8 * 512, 512)
    assert "page_ext tables" in str(
        saved_or_reason(machine(tmp_path / "many", structs=WITH_PAGE_EXT, memmap=many))
    )
    assert saved(machine(tmp_path / "none", structs=PAGE_STRUCT, memmap=many)) == 7 * 512 * PAGE


RAM = "System RAM"
HOLE = (0xC000_0000, 0xFFFF_FFFF, "Reserved")
LOW = ((0x0, 0x9FBFF, RAM), (0x10_0000, 0xBFFF_FFFF, RAM), HOLE)
LARGE_BLOCK = 2 * GIB


def server(root: Path, missing: int = 0, high: int = 91 * GIB) -> Host:
    """Write a bare-metal x86 host: blocks of 2 GB, the second and the last of which have holes."""
    low = 158 + 786_176  # whole frames of LOW without frame 0, which the kernel does not use
    sections = (3 * GIB + high) // (128 * MIB)
    return machine(
        root,
        block=LARGE_BLOCK,
        blocks=2 + -(-high // LARGE_BLOCK),
        memmap=(sections * SECTION_FRAMES - 161, 0),
        zones=zone("DMA", 3998, 4095)
        + zone("DMA32", low - 3998 - missing, 1_044_480)
        + zone("Normal", high // PAGE),
        firmware=(*LOW, (4 * GIB, 4 * GIB + high - 1, RAM)),
    )


def test_holes_in_blocks_are_taken_from_the_firmware_map(tmp_path: Path) -> None:
    assert saved(server(tmp_path)) == 161 * PAGE


def test_savings_are_absent_with_holes_and_without_a_firmware_map(tmp_path: Path) -> None:
    host = server(tmp_path)
    for entry in (tmp_path / "sys/firmware/memmap").glob("*/type"):
        entry.unlink()
    assert "holes that the firmware's memory map does not show" in str(saved_or_reason(host))


def test_savings_are_absent_if_the_kernel_does_not_use_all_firmware_memory(tmp_path: Path) -> None:
    """With mem= on the command line, nothing shows which sections are not used."""
    assert "holes that the firmware's memory map does not show" in str(
        saved_or_reason(server(tmp_path, missing=300))
    )


def test_large_blocks_without_holes_need_no_firmware_map(tmp_path: Path) -> None:
    """An arm64 guest in which only a few frames are missing."""
    host = machine(
        tmp_path,
        block=GIB,
        blocks=4,
        memmap=(32 * SECTION_FRAMES - 7, 0),
        zones=zone("Normal", 32 * 32768 - 1000),
    )
    assert saved(replace(host, machine="aarch64")) == 7 * PAGE


def test_sections_are_512_mb_with_64_kb_pages(tmp_path: Path) -> None:
    """A section of 512 MB has 8192 struct pages in 8 frames."""
    host = machine(
        tmp_path,
        block=512 * MIB,
        blocks=4,
        memmap=(4 * 8 - 7, 0),
        zones=zone("Normal", 4 * 8192),
    )
    assert saved(replace(host, machine="aarch64"), 64 * KIB) == 7 * 64 * KIB


def test_a_malformed_file_is_rejected_with_its_path(tmp_path: Path) -> None:
    host = machine(tmp_path)
    (tmp_path / MEMORY / "block_size_bytes").write_text("huge\n")
    with pytest.raises(ValueError, match="block_size_bytes: not a number: 'huge'"):
        saved(host)


UNKNOWN_KIND = btf(PAGE_STRUCT).replace(b"\x04", b"\x1e")


@pytest.mark.parametrize("blob", [b"\x7fELF" + bytes(100), b"", UNKNOWN_KIND])
def test_broken_btf_is_rejected(tmp_path: Path, blob: bytes) -> None:
    host = machine(tmp_path)
    (tmp_path / BTF).write_bytes(blob)
    with pytest.raises(ValueError, match="BTF"):
        saved(host)


WRAP = 1 << 64


def test_one_negative_counter_does_not_change_the_savings(tmp_path: Path) -> None:
    """161 frames are saved, independent of the counter that the kernel subtracted them from."""
    host = machine(tmp_path, memmap=(8 * SECTION_FRAMES, WRAP - 161))
    assert saved(host) == 161 * PAGE


def test_a_negative_memmap_makes_savings_absent(tmp_path: Path) -> None:
    assert "counts -1 memmap frames (expected 0 to 4096)" in str(
        saved_or_reason(machine(tmp_path, memmap=(23, WRAP - 24)))
    )


def test_a_negative_zone_makes_savings_absent(tmp_path: Path) -> None:
    zones = zone("DMA32", 8 * 32768) + zone("Normal", WRAP - 1)
    assert "counts -1 pages (expected 0 or more)" in str(
        saved_or_reason(machine(tmp_path, zones=zones))
    )
    (tmp_path / "proc/zoneinfo").write_text(zone("DMA32", WRAP))
    with pytest.raises(ValueError, match="zoneinfo: not a 64-bit counter"):
        saved(machine(tmp_path / "more", zones=zone("DMA32", WRAP)))
