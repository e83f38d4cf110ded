# SPDX-License-Identifier: Apache-2.0
"""`hvoscope plan --explain`: the table, arithmetic and pictures of patch v17."""

import pytest

from exporter.savings import pictures
from exporter.savings.explain import to_text
from exporter.savings.machine import GeometryOptions
from probes.geometry import KIB, MIB, Geometry
from sim_backend.kernel.pagetable import Mapping

BEFORE = """\
   HugeTLB                        struct pages(8 pages)        page frame(8 pages)
+-----------+ ---virt_to_page---> +-----------+   mapping to   +-----------+
|           |                     |     0     | -------------> |     0     |
|           |                     +-----------+                +-----------+
|           |                     |     1     | -------------> |     1     |
|           |                     +-----------+                +-----------+
|           |                     |     2     | -------------> |     2     |
|           |                     +-----------+                +-----------+
|           |                     |     3     | -------------> |     3     |
|           |                     +-----------+                +-----------+
|           |                     |     4     | -------------> |     4     |
|           |                     +-----------+                +-----------+
|           |                     |     5     | -------------> |     5     |
|           |                     +-----------+                +-----------+
|           |                     |     6     | -------------> |     6     |
|           |                     +-----------+                +-----------+
|           |                     |     7     | -------------> |     7     |
|           |                     +-----------+                +-----------+
+-----------+
"""
AFTER = """\
   HugeTLB                        struct pages(8 pages)        page frame(8 pages)
+-----------+ ---virt_to_page---> +-----------+   mapping to   +-----------+
|           |                     |     0     | -------------> |     0     |
|           |                     +-----------+                +-----------+
|           |                     |     1     | -------------> |     1     |
|           |                     +-----------+                +-----------+
|           |                     |     2     | ----------------^ ^ ^ ^ ^ ^
|           |                     +-----------+                   | | | | |
|           |                     |     3     | ------------------+ | | | |
|           |                     +-----------+                     | | | |
|           |                     |     4     | --------------------+ | | |
|           |                     +-----------+                       | | |
|           |                     |     5     | ----------------------+ | |
|           |                     +-----------+                         | |
|           |                     |     6     | ------------------------+ |
|           |                     +-----------+                           |
|           |                     |     7     | --------------------------+
|           |                     +-----------+
+-----------+
"""
ONE_SHARER = """\
   HugeTLB                        struct pages(2 pages)        page frame(2 pages)
+-----------+ ---virt_to_page---> +-----------+   mapping to   +-----------+
|           |                     |     0     | -------------> |     0     |
|           |                     +-----------+                +-----------+
|           |                     |     1     | ----------------^
|           |                     +-----------+
+-----------+
"""


def test_the_two_pictures_of_patch_v17() -> None:
    text = to_text(GeometryOptions())
    assert BEFORE in text
    assert AFTER in text + "\n"
    assert "vmemmap pages 2 to 7 are mapped to frame 1, read-only" in text


def test_with_one_reserved_page_seven_pages_share_the_first_frame() -> None:
    text = to_text(GeometryOptions(reserved=1))
    assert BEFORE in text
    assert "|     1     | ----------------^ ^ ^ ^ ^ ^ ^\n" in text
    assert "vmemmap pages 1 to 7 are mapped to frame 0, read-only" in text
    assert "freed = struct_size - RESERVE_VMEMMAP_NR (1)" in text


def test_a_picture_shows_its_mappings() -> None:
    mappings = [Mapping(0, 50, True), Mapping(4096, 50, False)]
    assert "\n".join(pictures.picture(mappings, [50, 40])) + "\n" == ONE_SHARER


def test_a_tall_picture_omits_its_middle() -> None:
    after = to_text(GeometryOptions(struct_page=256, reserved=1)).split("After optimization, ")[1]
    rows = [line.split("|")[3].strip() for line in after.splitlines() if "|" in line[34:46]]
    assert rows == ["0", "1", "2", "3", "4", "5", "6", "7", "...", "31"]


@pytest.mark.parametrize("reserved", [1, 2])
@pytest.mark.parametrize(
    ("page_size", "size"), [(4 * KIB, 2 * MIB), (16 * KIB, 32 * MIB), (64 * KIB, 512 * MIB)]
)
def test_the_page_table_is_really_remapped(page_size: int, size: int, reserved: int) -> None:
    remap = pictures.simulate(Geometry(page_size, reserved_pages=reserved))
    assert remap.size == size
    assert len({mapping.pfn for mapping in remap.before}) == 8
    assert [m.pfn for m in remap.after[:reserved]] == [m.pfn for m in remap.before[:reserved]]
    assert {m.pfn for m in remap.after[reserved:]} == {remap.before[reserved - 1].pfn}
    assert [m.writable for m in remap.after] == [True] * reserved + [False] * (8 - reserved)


def test_the_table_and_the_arithmetic() -> None:
    rows = [
        " ".join(line.replace("|", " ").split()) for line in to_text(GeometryOptions()).splitlines()
    ]
    for row in (
        "x86-64 4KB 2MB 1GB",
        "arm64 4KB 64KB 2MB 32MB 1GB",
        "arm64 16KB 2MB 32MB 1GB",
        "arm64 64KB 2MB 512MB 16GB",
        "2MB: 2097152 / 4096 * 64 / 4096 = 8 pages",
        "1GB: 1073741824 / 4096 * 64 / 4096 = 4096 pages",
        "2MB: 8 - 2 = 6 frames",
        "1GB: 4096 - 2 = 4094 frames",
        "x86-64 4KB 2MB 512 8 6 7",
        "arm64 4KB 64KB 16 0 0 0",
        "arm64 64KB 16GB 262144 256 254 255",
    ):
        assert row in rows, row


def test_arithmetic_of_another_machine() -> None:
    text = to_text(GeometryOptions("arm64", 64 * KIB))
    assert "2MB: 2097152 / 65536 * 64 / 65536 = 2048 bytes, less than a page" in text
    assert "2MB: 0: can't be optimized" in text
    assert "n           = PAGE_SIZE / sizeof(pte_t) = 65536 / 8 = 8192" in text
    assert "pud level" not in text  # a huge page of that level would have 4 TB


def test_lines_fit_a_terminal() -> None:
    assert max(map(len, to_text(GeometryOptions()).splitlines())) <= 100
