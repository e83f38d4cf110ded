# SPDX-License-Identifier: Apache-2.0
"""Machines that are not verified: one line that says why."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.verify.cases import cases_of
from exporter.verify.refusals import nothing_to_do, refusal
from exporter.verify.simulated import SimulatedMachine
from probes.geometry import MIB
from probes.preflight.facts import Facts
from tests.probes.preflight_host import BTF, KALLSYMS, SYSCTL, btf, kallsyms, machine

POOL = "sys/kernel/mm/hugepages/hugepages-2048kB"
V17 = ("free_huge_page_vmemmap", "vmemmap_remap_free", "vmemmap_remap_pte")


def refused(root: Path, changes: Mapping[str, str | bytes | None], **options: bool | int) -> str:
    arguments = {"euid": 0, **options}
    return refusal(Facts(machine(root, changes)), **arguments)  # type: ignore[arg-type]


def test_a_working_machine_is_verified(tmp_path: Path) -> None:
    assert refused(tmp_path, {}) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({KALLSYMS: kallsyms("vmemmap_populate"), SYSCTL: None}, "the kernel has no HVO"),
        ({BTF: btf(56)}, "the size of struct page is not a power of two"),
        ({KALLSYMS: kallsyms(*V17), SYSCTL: None}, "can't restore optimized huge pages"),
        (
            {
                KALLSYMS: kallsyms(*V17, "alloc_huge_page_vmemmap"),
                SYSCTL: None,
                "proc/cmdline": "quiet\n",
            },
            "boot with hugetlb_free_vmemmap=on",
        ),
        (
            {f"{POOL}/nr_hugepages": "28\n", f"{POOL}/free_hugepages": "5\n"},
            r"huge pages are in use or reserved \(23 of 2048 KiB\)",
        ),
        ({f"{POOL}/resv_hugepages": "3\n"}, r"in use or reserved \(3 of 2048 KiB\)"),
    ],
)
def test_the_reason_is_named(
    tmp_path: Path, changes: Mapping[str, str | bytes | None], reason: str
) -> None:
    found = refused(tmp_path, changes)
    assert "\n" not in found
    assert re.search(reason, found)


def test_only_root_can_change_pools(tmp_path: Path) -> None:
    assert refused(tmp_path, {}, euid=1000) == "pools can be changed by root only: run as root"


def test_pages_in_use_can_be_allowed(tmp_path: Path) -> None:
    used = {f"{POOL}/nr_hugepages": "28\n", f"{POOL}/free_hugepages": "5\n"}
    assert refused(tmp_path, used, pools_in_use=True) == ""


def test_free_pages_of_a_pool_are_not_in_use(tmp_path: Path) -> None:
    free = {f"{POOL}/nr_hugepages": "28\n", f"{POOL}/free_hugepages": "28\n"}
    assert refused(tmp_path, free) == ""


def test_no_memory_for_one_page() -> None:
    machine = SimulatedMachine("7.3")
    cases = cases_of(machine, 2 * MIB - 1)
    assert nothing_to_do(cases) == "one page takes 2MB, the share of free memory is 1 MiB"
    assert nothing_to_do(cases_of(machine, 2 * MIB)) == ""


def test_a_kernel_that_frees_nothing() -> None:
    assert nothing_to_do([]) == "the kernel's HVO frees no frame of any size of huge page"
