# SPDX-License-Identifier: Apache-2.0
import pytest

from probes.geometry import ARCHITECTURES, GIB, KIB, MIB, Geometry, parse_size, size_label

# Architecture, base page, huge page, its vmemmap pages, and frames freed with two reserved pages:
# the table of patch v17, computed by hand with its formula n * 64 / page size.
PATCH_V17_TABLE = [
    ("x86-64", "4K", "2MB", 8, 6),
    ("x86-64", "4K", "1GB", 4096, 4094),
    ("arm64", "4K", "64KB", 0, 0),
    ("arm64", "4K", "2MB", 8, 6),
    ("arm64", "4K", "32MB", 128, 126),
    ("arm64", "4K", "1GB", 4096, 4094),
    ("arm64", "16K", "2MB", 0, 0),
    ("arm64", "16K", "32MB", 8, 6),
    ("arm64", "16K", "1GB", 256, 254),
    ("arm64", "64K", "2MB", 0, 0),
    ("arm64", "64K", "512MB", 8, 6),
    ("arm64", "64K", "16GB", 256, 254),
]


@pytest.mark.parametrize(("arch", "page", "huge", "pages", "freed"), PATCH_V17_TABLE)
def test_vmemmap_pages_and_freed_frames_match_patch_v17(
    arch: str, page: str, huge: str, pages: int, freed: int
) -> None:
    geometry = Geometry(parse_size(page))
    size = parse_size(huge)
    assert size in ARCHITECTURES[arch][geometry.page_size]
    assert geometry.vmemmap_pages(size) == pages
    assert geometry.free_vmemmap_pages_per_hpage(size) == freed


def test_the_patch_v17_table_is_complete() -> None:
    rows = {(a, p, s) for a, pages in ARCHITECTURES.items() for p, ss in pages.items() for s in ss}
    assert rows == {(a, parse_size(p), parse_size(h)) for a, p, h, *_ in PATCH_V17_TABLE}


def test_one_reserved_page_instead_of_two_frees_one_more_frame() -> None:
    geometry = Geometry(reserved_pages=1)
    assert geometry.free_vmemmap_pages_per_hpage(2 * MIB) == 7
    assert geometry.free_vmemmap_pages_per_hpage(1 * GIB) == 4095


def test_a_struct_page_size_of_56_bytes_frees_nothing() -> None:
    geometry = Geometry(struct_page_size=56)
    assert geometry.struct_bytes(2 * MIB) == 512 * 56
    assert geometry.free_vmemmap_pages_per_hpage(2 * MIB) == 0


def test_struct_pages_of_64_kb_fill_a_quarter_of_a_page() -> None:
    assert Geometry().struct_bytes(64 * KIB) == 1024


def test_order_page_shift_and_ptes_per_table_with_64_kb_pages() -> None:
    geometry = Geometry(64 * KIB)
    assert geometry.order(16 * GIB) == 18
    assert geometry.huge_page_size(18) == 16 * GIB
    assert (geometry.page_shift, geometry.ptes_per_table) == (16, 8192)


@pytest.mark.parametrize("size", [3 * MIB, 2 * MIB + 1, 4 * KIB - 1])
def test_an_invalid_huge_page_size_is_rejected(size: int) -> None:
    with pytest.raises(ValueError, match="expected a power-of-two multiple of the 4KB page"):
        Geometry().order(size)


@pytest.mark.parametrize("page_size", [0, 3000, -4096])
def test_an_invalid_page_size_is_rejected(page_size: int) -> None:
    with pytest.raises(ValueError, match="expected a power of two"):
        Geometry(page_size)


def test_zero_reserved_pages_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"reserved pages 0 \(expected positive numbers\)"):
        Geometry(reserved_pages=0)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4K", 4096), ("64KB", 65536), ("2MB", 2 << 20), ("512mb", 512 << 20), ("16GiB", 16 << 30)],
)
def test_parse_size_accepts_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2", "MB", "2TB", "-2MB", "0MB", "2 M B", "2.5MB"])
def test_parse_size_rejects_invalid_text(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        parse_size(text)


@pytest.mark.parametrize("label", ["64KB", "2MB", "32MB", "512MB", "1GB", "16GB"])
def test_size_label_uses_the_spelling_of_the_kernel_documentation(label: str) -> None:
    assert size_label(parse_size(label)) == label


def test_size_label_of_an_odd_size_is_in_bytes() -> None:
    assert size_label(1000) == "1000B"
