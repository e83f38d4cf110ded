# SPDX-License-Identifier: Apache-2.0
"""Findings on a kernel without BTF, and on one that never restores."""

from pathlib import Path

import pytest

from probes.observation import Absent
from probes.preflight import at_start, examine, problems
from probes.preflight.facts import Facts
from probes.preflight.finding import Finding, Verdict
from tests.probes.preflight_host import BTF, KALLSYMS, Changes, btf, kallsyms, machine

HEADERS = "modules/6.1.0-test/build/include/linux/kconfig.h"


def findings_by_name(root: Path, changes: Changes) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(machine(root, changes), root / "dist")}


def test_the_file_of_btf_is_named(tmp_path: Path) -> None:
    finding = findings_by_name(tmp_path, {})["btf"]
    assert finding == Finding("btf", Verdict.OK, f"{tmp_path}/{BTF}")


def test_without_btf_but_with_headers_is_a_warning(tmp_path: Path) -> None:
    finding = findings_by_name(tmp_path, {BTF: None})["btf"]
    assert finding.verdict is Verdict.WARNING
    assert "(No such file or directory): offsets are taken from the kernel headers" in finding.what
    assert finding.fix == "use a kernel with CONFIG_DEBUG_INFO_BTF"
    assert problems(at_start(Facts(machine(tmp_path, {BTF: None}), tmp_path / "dist"))) == []


def test_broken_btf_is_a_warning(tmp_path: Path) -> None:
    finding = findings_by_name(tmp_path, {BTF: btf(64)[:20]})["btf"]
    assert finding.verdict is Verdict.WARNING
    assert "(broken BTF" in finding.what


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (btf(64)[:20], "broken BTF")],
)
def test_without_readable_btf_the_kernels_bugs_are_unknown_and_not_none(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    bugs = Facts(machine(tmp_path, {BTF: content}), tmp_path / "dist").kernel_bugs
    assert isinstance(bugs, Absent)
    assert bugs.reason.startswith(f"a bug is recognized by BTF, which can't be read ({why}")


def test_neither_btf_nor_headers_is_a_problem_with_both_fixes(tmp_path: Path) -> None:
    finding = findings_by_name(tmp_path, {BTF: None, HEADERS: None})["btf"]
    assert finding.verdict is Verdict.PROBLEM
    assert finding.what == f"{tmp_path}/{BTF} can't be read (No such file or directory)"
    assert finding.fix == (
        "use a kernel with CONFIG_DEBUG_INFO_BTF, or apt install linux-headers-6.1.0-test "
        "(Fedora: dnf install kernel-devel-6.1.0-test)"
    )


def test_a_kernel_that_never_restores_is_ok_and_reported(tmp_path: Path) -> None:
    v17 = kallsyms("free_huge_page_vmemmap", "vmemmap_remap_free", "vmemmap_remap_pte")
    findings = findings_by_name(tmp_path, {KALLSYMS: v17})
    what = "not in this kernel (patch v17 3/9 without 4/9): it never restores a page"
    assert findings["restore"] == Finding("restore", Verdict.OK, what)
    assert "restore_pte" not in findings
