# SPDX-License-Identifier: Apache-2.0
"""`hvoscope plan`: its output, on machines made of files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from exporter.cli.main import cli
from exporter.savings.advice import switch, warnings
from exporter.savings.forecast import savings
from exporter.savings.machine import GeometryOptions, target_from_host
from tests.probes.capture_tree import restored
from tests.probes.kernel.test_btf import FROM_7_1, UNTIL_7_0, kernel
from tests.probes.preflight_host import BTF, SYMBOLS_5_15, SYSCTL, btf, kallsyms, machine

TREES = Path(__file__).parents[2] / "data/trees"
POOL = "sys/devices/system/node/node{}/hugepages/hugepages-{}kB/nr_hugepages"
TWO_NODES = {
    "sys/devices/system/node/online": "0-1\n",
    POOL.format(0, 2048): "23\n",
    POOL.format(1, 2048): "486\n",
    POOL.format(0, 1048576): "1\n",
    POOL.format(1, 1048576): "0\n",
    "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "1\n",
}


def plan(*arguments: str) -> str:
    ran = CliRunner().invoke(cli, ["plan", *arguments], standalone_mode=False)
    if ran.exception:
        raise ran.exception
    return ran.stdout


def as_json(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan(*arguments, "--json"))
    return found


def on_machine(
    root: Path, changes: Mapping[str, str | bytes | None], *arguments: str
) -> dict[str, Any]:
    host = machine(root, changes)
    return as_json("--path.procfs", str(host.proc), "--path.sysfs", str(host.sys), *arguments)


def test_one_size_is_at_the_top_level() -> None:
    found = as_json("--size", "2MB", "--count", "100000")
    wanted = {
        "architecture": "x86-64",
        "page_size": 4096,
        "struct_page_size": 64,
        "reserved_pages": 1,
        "size": "2MB",
        "count": 100000,
        "vmemmap_pages_per_page": 8,
        "frames_freed_per_page": 7,
        "frames_freed": 700000,
        "bytes_saved": 700000 * 4096,
        "page_table_frames": 1563,
        "page_table_frames_most": 100000,
        "net_bytes_saved": (700000 - 1563) * 4096,
        "reason": "",
    }
    assert {key: found[key] for key in wanted} == wanted
    assert len(found["sizes"]) == 1


def test_several_sizes_are_a_list_with_totals_above() -> None:
    found = as_json("--size", "1GB", "--size", "2MB", "--count", "1", "--count", "509")
    assert [(s["size"], s["count"], s["frames_freed"]) for s in found["sizes"]] == [
        ("2MB", 509, 3563),
        ("1GB", 1, 4095),
    ]
    assert (found["frames_freed"], found["page_table_frames"]) == (7658, 16)
    assert found["net_bytes_saved"] == (7658 - 16) * 4096
    assert "frames_freed_per_page" not in found


@pytest.mark.parametrize(
    ("options", "per_page", "frames", "tables"),
    [
        ("--arch arm64 --page-size 64K --size 512MB --reserved 2", 6, 6 * 23, 0),
        ("--arch arm64 --page-size 16K --size 32MB", 7, 7 * 23, 0),
        ("--arch arm64 --page-size 64KB --size 16GB", 255, 255 * 23, 0),
        ("--arch arm64 --page-size 4K --size 32MB", 127, 127 * 23, 6),
        ("--size 2MB --struct-page 128", 15, 15 * 23, 1),
        ("--size 1GB --reserved 2", 4094, 4094 * 23, 8 * 23),
    ],
)
def test_plan_for_described_machines(options: str, per_page: int, frames: int, tables: int) -> None:
    found = as_json(*options.split(), "--count", "23")
    assert found["frames_freed_per_page"] == per_page
    assert (found["frames_freed"], found["page_table_frames"]) == (frames, tables)


def test_a_size_that_can_not_be_optimized_is_reported_with_its_reason() -> None:
    options = "--size 2MB --count 100000 --arch arm64 --page-size 64K --struct-page 64 --reserved 1"
    found = as_json(*options.split())
    assert (found["frames_freed"], found["net_bytes_saved"]) == (0, 0)
    assert found["reason"] == "its struct pages fill 2048 bytes of one 64KB page"
    assert found["switch"] == found["warnings"] == found["slowdown"] == []
    text = plan(*options.split())
    assert "nothing to save: its struct pages fill 2048 bytes of one 64KB page" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--size 2MB --struct-page 56", "a struct page of 56 bytes crosses page boundaries"),
        ("--explain --struct-page 48", "a struct page of 48 bytes crosses page boundaries"),
        (
            "--size 3MB",
            "invalid huge page size 3MB (expected a power-of-two multiple of the 4KB page)",
        ),
        (
            "--size 100K --arch arm64 --page-size 64K",
            "invalid huge page size 100KB (expected a power-of-two multiple of the 64KB page)",
        ),
        ("--size 512MB", "x86-64 with 4KB pages has no 512MB huge pages"),
        ("--size 2MB --page-size 64K", "x86-64 has no 64KB pages"),
        ("--size 2MB --page-size 3K", "invalid page size 3072 (expected a power of two)"),
        ("--size 2MB --arch sparc", "'sparc' is not one of 'x86-64', 'arm64', 'riscv64', "),
        ("--size 1GB --arch loongarch64", "16KB pages has no 1GB huge pages (expected 32MB)"),
        ("--size 2TB", "invalid size '2TB'"),
        ("--size 2MB --count 0", "0 is not in the range"),
        ("--size 2MB --count -23", "-23 is not in the range"),
        ("--size 2MB --size 1GB --count 3", "expected one --count for each --size"),
        ("--count 3", "--count needs --size"),
        ("--arch arm64", "--arch and --page-size describe another machine"),
        ("--explain --json", "can't be combined"),
        ("--explain --reserved 3", "no kernel reserves 3 vmemmap pages"),
        ("--explain --struct-page 8", "leaves nothing to remap"),
        ("--path.sysfs /nowhere", "lists no huge page size: give --size and --count"),
    ],
)
def test_bad_input_is_one_line(options: str, said: str) -> None:
    with pytest.raises(click.ClickException) as raised:
        plan(*options.split())
    message = raised.value.format_message()
    assert said in message
    assert "\n" not in message


def test_the_pools_of_this_machine_per_node(tmp_path: Path) -> None:
    found = on_machine(tmp_path, TWO_NODES)
    assert [(s["size"], s["count"], s["page_table_frames"]) for s in found["sizes"]] == [
        ("2MB", 509, 1 + 8),
        ("1GB", 1, 8),
    ]
    assert found["frames_freed"] == 509 * 7 + 4095
    assert found["notes"] == []


@pytest.mark.parametrize(
    ("name", "frames"), [("cloud-6.18-23", 23 * 7), ("cloud-6.18-23-and-1gb", 23 * 7 + 4095)]
)
def test_the_savings_of_a_captured_machine_equal_its_forecast(
    tmp_path: Path, name: str, frames: int
) -> None:
    host = restored(tmp_path, TREES / f"{name}.json")
    paths = ("--path.procfs", str(host.proc), "--path.sysfs", str(host.sys))
    found = as_json(*paths)
    assert found["frames_freed"] == frames
    assert found["bytes_saved_now"] == found["bytes_saved"]
    assert "Already saved, by the kernel's own accounting: " in plan(*paths)


def test_an_empty_pool_is_noted(tmp_path: Path) -> None:
    found = on_machine(tmp_path, {})
    assert found["count"] == found["frames_freed"] == 0
    assert found["frames_freed_per_page"] == 7
    assert found["notes"] == [
        "no huge pages are allocated on this machine: give --size and --count"
    ]


def test_a_kernel_with_the_v17_functions_reserves_two_pages(tmp_path: Path) -> None:
    changes = {**TWO_NODES, "proc/kallsyms": kallsyms(*SYMBOLS_5_15), SYSCTL: None}
    found = on_machine(tmp_path, changes)
    assert (found["reserved_pages"], found["frames_freed"]) == (2, 509 * 6 + 4094)
    assert "Linux 5.18 has 1 (--reserved 1)" in found["notes"][0]
    assert found["switch"][0].startswith("hugetlb_free_vmemmap=on on the kernel command line")
    assert on_machine(tmp_path, changes, "--reserved", "1")["frames_freed"] == 509 * 7 + 4095


def test_struct_page_comes_from_btf(tmp_path: Path) -> None:
    found = on_machine(tmp_path, {**TWO_NODES, "sys/kernel/btf/vmlinux": btf(128)})
    assert (found["struct_page_size"], found["sizes"][0]["frames_freed_per_page"]) == (128, 15)


def test_a_struct_page_of_56_bytes_saves_nothing_here(tmp_path: Path) -> None:
    found = on_machine(tmp_path, {**TWO_NODES, "sys/kernel/btf/vmlinux": btf(56)})
    assert found["frames_freed"] == 0
    assert found["sizes"][0]["reason"] == "struct page has 56 bytes, not a power of two"


def test_without_btf_64_bytes_are_assumed(tmp_path: Path) -> None:
    found = on_machine(tmp_path, {**TWO_NODES, "sys/kernel/btf/vmlinux": None})
    assert found["struct_page_size"] == 64
    assert "unknown without BTF" in found["notes"][0]


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({SYSCTL: "1\n"}, "HVO is already on"),
        ({SYSCTL: "0\n"}, "sysctl -w vm.hugetlb_optimize_vmemmap=1: for huge pages allocated"),
        ({"proc/kallsyms": kallsyms("kfree"), SYSCTL: None}, "this kernel has no HVO"),
        ({"proc/kallsyms": "", SYSCTL: "1\n"}, "HVO is already on"),
        ({"proc/kallsyms": "", SYSCTL: "0\n"}, "sysctl -w vm.hugetlb_optimize_vmemmap=1: for "),
        ({"proc/kallsyms": "", SYSCTL: None}, "unknown whether this kernel has HVO: "),
    ],
)
def test_the_first_setting_depends_on_the_kernel(
    tmp_path: Path, changes: Mapping[str, str | None], first: str
) -> None:
    assert on_machine(tmp_path, {**TWO_NODES, **changes})["switch"][0].startswith(first)


def test_active_settings_are_omitted(tmp_path: Path) -> None:
    changes = {SYSCTL: "1\n", "proc/cmdline": "hugetlb_free_vmemmap=on\n"}
    assert on_machine(tmp_path, changes)["switch"] == ["HVO is already on"]


def test_hot_added_memory_is_a_warning_only_with_memmap_on_memory(tmp_path: Path) -> None:
    name = "sys/module/memory_hotplug/parameters/memmap_on_memory"
    with_it = on_machine(tmp_path, {**TWO_NODES, name: "Y\n"})["warnings"]
    without = on_machine(tmp_path, {**TWO_NODES, name: "N\n"})["warnings"]
    assert [line for line in with_it if line not in without] == [
        "memory hot-added while memory_hotplug.memmap_on_memory is on can't be optimized"
    ]


def test_a_kernel_that_may_hang_is_a_warning(tmp_path: Path) -> None:
    mixed, in_order = (
        on_machine(tmp_path, {**TWO_NODES, BTF: kernel(walk)})["warnings"]
        for walk in (FROM_7_1, UNTIL_7_0)
    )
    assert [line for line in mixed if line not in in_order] == [
        "this kernel loses optimized huge pages when they are freed, or hangs later, as "
        "Debian's 6.12.118 does (restore-leak): use another kernel, or leave HVO off"
    ]


def test_arm64_is_warned_of_the_removal_of_hvo() -> None:
    found = as_json("--arch", "arm64", "--size", "2MB")
    assert "060a2c92d1b6" in found["warnings"][0]
    assert not any("arm64" in line for line in as_json("--size", "2MB")["warnings"])


OPTION = "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP"


@pytest.mark.parametrize(
    ("architecture", "sysctl", "boot"),
    [
        ("x86-64", " (Linux 5.19 and later)", " (Linux 5.14 and later)"),
        ("arm64", " (Linux 5.19 to 6.2)", " (Linux 5.19 to 6.2)"),
        ("riscv64", " (Linux 6.4 and later)", " (Linux 6.4 and later)"),
        ("loongarch64", "", ""),
    ],
)
def test_each_architecture_has_its_own_releases(architecture: str, sysctl: str, boot: str) -> None:
    found = as_json("--arch", architecture, "--size", "32MB" if "loong" in architecture else "2MB")
    assert found["switch"] == [
        f"sysctl -w vm.hugetlb_optimize_vmemmap=1: for huge pages allocated afterwards{sysctl}",
        f"hugetlb_free_vmemmap=on on the kernel command line: from boot on{boot}",
    ]


SYMBOLS_6_7 = ("hugetlb_vmemmap_optimize_folios", "__hugetlb_vmemmap_optimize_folio")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "this kernel changes the frames of live PTEs, which arm64 forbids"),  # Linux 6.1
        ({"proc/kallsyms": kallsyms(*SYMBOLS_6_7)}, ""),
        ({"proc/kallsyms": "x", SYSCTL: None}, f"only if its configuration has {OPTION}"),
        ({"proc/kallsyms": ""}, f"only if its configuration has {OPTION}"),
    ],
)
def test_arm64_warnings_depend_on_the_kernel(
    tmp_path: Path, changes: Mapping[str, str | None], says: str
) -> None:
    host = machine(tmp_path, {**TWO_NODES, **changes}, "aarch64")
    target = target_from_host(host, 4096, GeometryOptions())
    told = warnings(target, savings(target.geometry, target.demands))
    assert any(says in line for line in told)
    assert any("060a2c92d1b6" in line for line in told) is bool(says)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("riscv64", f"use Linux 6.4 or later, built with {OPTION}"),
        ("s390x", f"use a kernel that is built with {OPTION}"),
    ],
)
def test_a_kernel_without_hvo_names_one_with_it(tmp_path: Path, kind: str, says: str) -> None:
    changes = {**TWO_NODES, "proc/kallsyms": "x", SYSCTL: None}
    target = target_from_host(machine(tmp_path, changes, kind), 4096, GeometryOptions())
    found = savings(target.geometry, target.demands)
    assert switch(target, found) == (f"this kernel has no HVO: {says}",)


@pytest.mark.parametrize(
    ("options", "per_page", "tables"),
    [
        # struct_size: pages of the huge page * 64 / page size, less the reserved one; tables: one
        # per pmd that holds struct pages of the 1009 huge pages.
        ("--arch riscv64 --size 2MB", 7, 16),  # 1009 * 32 KB / 2 MB
        ("--arch riscv64 --size 1GB", 4095, 8 * 1009),
        ("--arch riscv64 --size 64KB", 0, 0),
        ("--arch loongarch64 --size 32MB", 7, 4),  # 16 KB pages; 1009 * 128 KB / 32 MB
        ("--arch loongarch64 --page-size 4K --size 2MB", 7, 16),
        ("--arch loongarch64 --page-size 64K --size 512MB", 7, 1),  # 1009 * 512 KB / 512 MB
    ],
)
def test_later_architectures(options: str, per_page: int, tables: int) -> None:
    found = as_json(*options.split(), "--count", "1009")
    assert (found["frames_freed_per_page"], found["page_table_frames"]) == (per_page, tables)


def test_the_text_names_every_figure_with_its_source() -> None:
    text = plan("--size", "2MB", "--count", "100000", "--size", "1GB", "--count", "16")
    rows = [line.split() for line in text.splitlines()]
    assert ["2MB", "100000", "8", "7", "700000", "1563", "2.66", "GiB"] in rows
    assert ["total", "765520", "1691", "2.91", "GiB"] in rows
    assert ["2MB", "allocate", "to", "6.6", "10240", "0.067", "s", "0.166", "s", "[1]"] in rows
    assert "[1] cover letter of patch series v17" in text
    assert "1GB: no published allocate or free timings" in text
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_figures_are_those_of_the_kernels_kind(tmp_path: Path) -> None:
    names = ("hugetlb_vmemmap_optimize_folios", "__hugetlb_vmemmap_optimize_folio")
    batched = on_machine(tmp_path, {**TWO_NODES, "proc/kallsyms": kallsyms(*names)})["slowdown"]
    single = on_machine(tmp_path, TWO_NODES)["slowdown"]
    assert {figure["in_batches"] for figure in batched} == {True}
    assert {figure["in_batches"] for figure in single} == {False}
    assert (batched[0]["pages"], batched[0]["off_seconds"]) == (500_000, 4.119)


def test_published_figures_are_those_of_their_sources() -> None:
    """Seconds, copied again from the mails: v17 0/9, batch series v8 0/8, boot series v5 0/4."""
    shown = {
        (f["what"], f["pages"], f["in_batches"]): (f["off_seconds"], f["on_seconds"])
        for size in ("2MB", "1GB")
        for f in as_json("--size", size)["slowdown"]
    }
    assert shown == {
        ("allocate", 10_240, False): (0.067, 0.166),
        ("free", 10_240, False): (0.081, 0.213),
        ("allocate", 500_000, False): (4.119, 28.973),
        ("allocate", 500_000, True): (4.119, 7.267),
        ("free", 500_000, False): (4.477, 36.748),
        ("free", 500_000, True): (4.477, 13.199),
        ("boot", 500, True): (2.15, 1.32),
    }


def test_published_timings_are_not_extrapolated() -> None:
    """The figures are the same for 200,000 times as many pages."""
    few, many = (
        [line for line in plan("--size", "2MB", "--count", count).splitlines() if " s " in line]
        for count in ("1", "200000")
    )
    assert few == many
    assert len(few) == 6
    (figure, *_) = as_json("--size", "2MB")["slowdown"]
    assert set(figure) == {"what", "in_batches", "size", "pages", "off_seconds", "on_seconds"} | {
        "source"
    }
