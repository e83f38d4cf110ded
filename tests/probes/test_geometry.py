# SPDX-License-Identifier: Apache-2.0
import pytest

from probes.geometry import ARCHITECTURES, GIB, KIB, MIB, Geometry, parse_size, size_label

# Architecture, base page, huge page, its vmemmap pages, and frames freed with two reserved: the
# seed's table, worked out by hand with its formula n * 64 / page size.
SEED_TABLE = [
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


@pytest.mark.parametrize(("arch", "page", "huge", "pages", "freed"), SEED_TABLE)
def test_the_seeds_table(arch: str, page: str, huge: str, pages: int, freed: int) -> None:
    geometry = Geometry(parse_size(page))
    size = parse_size(huge)
    assert size in ARCHITECTURES[arch][geometry.page_size]
    assert geometry.vmemmap_pages(size) == pages
    assert geometry.free_vmemmap_pages_per_hpage(size) == freed


def test_the_table_is_complete() -> None:
    rows = {(a, p, s) for a, pages in ARCHITECTURES.items() for p, ss in pages.items() for s in ss}
    assert rows == {(a, parse_size(p), parse_size(h)) for a, p, h, *_ in SEED_TABLE}


def test_one_reserved_page_frees_one_more() -> None:
    geometry = Geometry(reserved_pages=1)
    assert geometry.free_vmemmap_pages_per_hpage(2 * MIB) == 7
    assert geometry.free_vmemmap_pages_per_hpage(1 * GIB) == 4095


def test_a_struct_page_that_is_no_power_of_two_can_not_be_optimised() -> None:
    geometry = Geometry(struct_page_size=56)
    assert geometry.struct_bytes(2 * MIB) == 512 * 56
    assert geometry.free_vmemmap_pages_per_hpage(2 * MIB) == 0


def test_a_quarter_of_a_vmemmap_page() -> None:
    assert Geometry().struct_bytes(64 * KIB) == 1024


def test_orders_and_tables() -> None:
    geometry = Geometry(64 * KIB)
    assert geometry.order(16 * GIB) == 18
    assert geometry.huge_page_size(18) == 16 * GIB
    assert (geometry.page_shift, geometry.ptes_per_table) == (16, 8192)


@pytest.mark.parametrize("size", [3 * MIB, 2 * MIB + 1, 4 * KIB - 1])
def test_a_size_that_no_huge_page_has(size: int) -> None:
    with pytest.raises(ValueError, match="no power-of-two multiple of the 4KB page"):
        Geometry().order(size)


@pytest.mark.parametrize("page_size", [0, 3000, -4096])
def test_impossible_pages(page_size: int) -> None:
    with pytest.raises(ValueError, match="no power of two"):
        Geometry(page_size)


def test_impossible_reserve() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Geometry(reserved_pages=0)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4K", 4096), ("64KB", 65536), ("2MB", 2 << 20), ("512mb", 512 << 20), ("16GiB", 16 << 30)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2", "MB", "2TB", "-2MB", "0MB", "2 M B", "2.5MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize("label", ["64KB", "2MB", "32MB", "512MB", "1GB", "16GB"])
def test_labels_are_the_documentations_spelling(label: str) -> None:
    assert size_label(parse_size(label)) == label


def test_an_odd_size_has_a_label_too() -> None:
    assert size_label(1000) == "1000B"
