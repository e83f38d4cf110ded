# SPDX-License-Identifier: Apache-2.0
"""Kernel headers, where BCC's compiler looks for them and nowhere else."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes.preflight import Finding, Verdict, examine
from probes.preflight.facts import Facts
from probes.preflight.headers import headers, kernel_source
from tests.probes.preflight_host import RELEASE, machine

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
MODULES = f"modules/{RELEASE}"
KCONFIG = "include/linux/kconfig.h"
ARCHIVE = "sys/kernel/kheaders.tar.xz"
NONE: Mapping[str, str | None] = {f"{MODULES}/build/{KCONFIG}": None}
INSTALL = f"apt install linux-headers-{RELEASE} (Fedora: dnf install kernel-devel-{RELEASE})"
NO_CAPABILITY = "CapEff:\t0000000000000000\n"


def look(
    root: Path, changes: Mapping[str, str | bytes | None], environ: Mapping[str, str] | None = None
) -> Finding:
    host = machine(root, {**NONE, **changes})
    return headers(Facts(host, root / "dist", environ={"TMPDIR": str(root), **(environ or {})}))


def test_headers_of_the_running_kernel(tmp_path: Path) -> None:
    found = look(tmp_path, {f"{MODULES}/build/{KCONFIG}": ""})
    assert found == Finding("headers", OK, f"{tmp_path}/{MODULES}/build")


def test_headers_that_are_split_as_debians_are(tmp_path: Path) -> None:
    split = {f"{MODULES}/build/Makefile": "", f"{MODULES}/source/{KCONFIG}": ""}
    assert look(tmp_path, split) == Finding("headers", OK, f"{tmp_path}/{MODULES}/source")


def test_where_there_is_a_source_nothing_in_build_counts(tmp_path: Path) -> None:
    files = {f"{MODULES}/build/{KCONFIG}": "", f"{MODULES}/source/Makefile": ""}
    found = look(tmp_path, files)
    assert found.verdict is PROBLEM
    assert found.what.endswith(f"{MODULES}/source has no {KCONFIG}")


@pytest.mark.parametrize("left", ["build/scripts/basic/x", "build/include/generated/x", "build"])
def test_what_a_package_left_behind_is_no_headers(tmp_path: Path, left: str) -> None:
    assert look(tmp_path, {f"{MODULES}/{left}": ""}) == Finding(
        "headers",
        PROBLEM,
        f"no kernel headers for {RELEASE}: {tmp_path}/{MODULES}/build has no {KCONFIG}",
        INSTALL,
    )


def test_a_link_to_headers_that_are_gone_is_none(tmp_path: Path) -> None:
    (tmp_path / MODULES).mkdir(parents=True)
    (tmp_path / MODULES / "build").symlink_to(tmp_path / "usr/src/gone")
    assert look(tmp_path, {}) == Finding(
        "headers", PROBLEM, f"no kernel headers for {RELEASE}", INSTALL
    )
    findings = examine(machine(tmp_path, NONE), tmp_path / "dist")
    assert [finding.name for finding in findings if finding.verdict is PROBLEM] == ["headers"]


def test_the_archive_in_the_kernel(tmp_path: Path) -> None:
    assert look(tmp_path, {ARCHIVE: "x"}) == Finding("headers", OK, f"{tmp_path}/{ARCHIVE}")
    leftover = {ARCHIVE: "x", f"{MODULES}/build/Makefile": ""}
    assert look(tmp_path, leftover).verdict is OK


def test_an_archive_that_bcc_has_unpacked_before(tmp_path: Path) -> None:
    found = look(tmp_path, {f"kheaders-{RELEASE}/{KCONFIG}": ""})
    assert found.verdict is (OK if os.getuid() == 0 else PROBLEM)  # BCC takes root's only


@pytest.mark.parametrize("name", ["kheaders.ko", "kheaders.ko.zst", "kheaders.ko.xz"])
def test_the_module_that_bcc_loads(tmp_path: Path, name: str) -> None:
    depends = {f"{MODULES}/modules.dep": f"kernel/fs/ext4.ko:\nkernel/kernel/{name}:\n"}
    found = look(tmp_path, depends)
    assert found == Finding("headers", OK, "in the module kheaders, which BCC loads")
    assert look(tmp_path, {**depends, "proc/self/status": NO_CAPABILITY}) == Finding(
        "headers",
        WARNING,
        "in the module kheaders, which takes CAP_SYS_MODULE to load",
        "modprobe kheaders",
    )
    disabled = {**depends, "proc/sys/kernel/modules_disabled": "1\n"}
    assert look(tmp_path, disabled).verdict is PROBLEM


def test_another_module_is_not_kheaders(tmp_path: Path) -> None:
    depends = {f"{MODULES}/modules.dep": "kernel/x/not_kheaders.ko: kernel/kernel/kheaders.ko\n"}
    assert look(tmp_path, depends).verdict is PROBLEM


def test_the_source_that_bcc_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "src" / KCONFIG).parent.mkdir(parents=True)
    (tmp_path / "src" / KCONFIG).touch()
    told = {"BCC_KERNEL_SOURCE": str(tmp_path / "src")}
    assert look(tmp_path, {}, told) == Finding("headers", OK, f"{tmp_path}/src")
    told = {"BCC_KERNEL_SOURCE": str(tmp_path / "elsewhere")}
    found = look(tmp_path, {f"{MODULES}/build/{KCONFIG}": ""}, told)
    assert found.verdict is PROBLEM
    assert found.what.endswith(f"BCC_KERNEL_SOURCE={tmp_path}/elsewhere has no {KCONFIG}")
    assert found.fix.startswith("unset BCC_KERNEL_SOURCE, and apt install ")
    assert (
        look(tmp_path, {ARCHIVE: "x"}, told).verdict is OK
    )  # the archive is looked for all the same


def test_another_name_of_the_build_folder(tmp_path: Path) -> None:
    told = {"BCC_KERNEL_MODULES_SUFFIX": "kernel-devel"}
    files = {f"{MODULES}/kernel-devel/{KCONFIG}": ""}
    assert look(tmp_path, files, told).verdict is OK
    assert look(tmp_path, files).verdict is PROBLEM


def test_what_can_not_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / MODULES).mkdir(parents=True)
    build = tmp_path / MODULES / "build"
    build.symlink_to(build)
    assert look(tmp_path, {}) == Finding(
        "headers", UNKNOWN, f"{build} can't be read (Too many levels of symbolic links)"
    )


def test_without_headers_only_what_was_compiled_before_can_be_attached(tmp_path: Path) -> None:
    host = machine(tmp_path, NONE)
    empty, kept = tmp_path / "empty", tmp_path / "kept"
    kept.mkdir()
    (kept / "0.bpf").write_bytes(b"")
    found = [headers(Facts(host, cache=cache, environ={})) for cache in (None, empty, kept)]
    assert [finding.verdict for finding in found] == [PROBLEM, PROBLEM, WARNING]
    assert found[2].what.endswith("only probes compiled before can be attached")


def test_the_fix_is_this_distributions(tmp_path: Path) -> None:
    assert look(tmp_path, {"etc/os-release": "ID=fedora\n"}).fix == (
        f"dnf install kernel-devel-{RELEASE}"
    )


def test_where_bcc_looks_first(tmp_path: Path) -> None:
    facts = Facts(machine(tmp_path, {}), environ={"BCC_KERNEL_SOURCE": "/usr/src/linux"})
    assert kernel_source(facts) == Path("/usr/src/linux")
