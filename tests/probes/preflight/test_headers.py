# SPDX-License-Identifier: Apache-2.0
"""Check for kernel headers, with the search rules of BCC's compiler."""

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
BCC = "apt install python3-bpfcc (Fedora: dnf install python3-bcc); never from pip"
NO_CAPABILITY = "CapEff:\t0000000000000000\n"


def headers_finding(
    root: Path, changes: Mapping[str, str | bytes | None], environ: Mapping[str, str] | None = None
) -> Finding:
    host = machine(root, {**NONE, **changes})
    return headers(Facts(host, root / "dist", environ={"TMPDIR": str(root), **(environ or {})}))


def test_headers_in_the_build_folder_are_found(tmp_path: Path) -> None:
    found = headers_finding(tmp_path, {f"{MODULES}/build/{KCONFIG}": ""})
    assert found == Finding("headers", OK, f"{tmp_path}/{MODULES}/build")


def test_split_headers_are_found_in_the_source_folder(tmp_path: Path) -> None:
    split = {f"{MODULES}/build/Makefile": "", f"{MODULES}/source/{KCONFIG}": ""}
    assert headers_finding(tmp_path, split) == Finding(
        "headers", OK, f"{tmp_path}/{MODULES}/source"
    )


def test_the_build_folder_is_ignored_if_there_is_a_source_folder(tmp_path: Path) -> None:
    files = {f"{MODULES}/build/{KCONFIG}": "", f"{MODULES}/source/Makefile": ""}
    found = headers_finding(tmp_path, files)
    assert found.verdict is PROBLEM
    assert found.what.endswith(f"{MODULES}/source has no {KCONFIG}")


@pytest.mark.parametrize("left", ["build/scripts/basic/x", "build/include/generated/x", "build"])
def test_leftovers_of_an_uninstalled_package_are_not_headers(tmp_path: Path, left: str) -> None:
    assert headers_finding(tmp_path, {f"{MODULES}/{left}": ""}) == Finding(
        "headers",
        PROBLEM,
        f"no kernel headers for {RELEASE}: {tmp_path}/{MODULES}/build has no {KCONFIG}",
        INSTALL,
    )


def test_a_dangling_link_is_reported_as_missing_headers(tmp_path: Path) -> None:
    (tmp_path / MODULES).mkdir(parents=True)
    (tmp_path / MODULES / "build").symlink_to(tmp_path / "usr/src/gone")
    assert headers_finding(tmp_path, {}) == Finding(
        "headers", PROBLEM, f"no kernel headers for {RELEASE}", INSTALL
    )
    findings = examine(machine(tmp_path, NONE), tmp_path / "dist")
    assert [finding.name for finding in findings if finding.verdict is PROBLEM] == ["headers"]


def test_the_archive_in_sysfs_is_found(tmp_path: Path) -> None:
    assert headers_finding(tmp_path, {ARCHIVE: "x"}) == Finding(
        "headers", OK, f"{tmp_path}/{ARCHIVE}"
    )
    leftover = {ARCHIVE: "x", f"{MODULES}/build/Makefile": ""}
    assert headers_finding(tmp_path, leftover).verdict is OK


def test_an_archive_unpacked_by_bcc_is_found_if_root_owns_it(tmp_path: Path) -> None:
    found = headers_finding(tmp_path, {f"kheaders-{RELEASE}/{KCONFIG}": ""})
    what = f"{tmp_path}/kheaders-{RELEASE}, unpacked earlier by BCC"
    if os.getuid() == 0:  # BCC accepts only root's
        assert found == Finding("headers", OK, what)
    else:
        assert found.verdict is PROBLEM


@pytest.mark.parametrize("name", ["kheaders.ko", "kheaders.ko.zst", "kheaders.ko.xz"])
def test_the_kheaders_module_is_found(tmp_path: Path, name: str) -> None:
    depends = {f"{MODULES}/modules.dep": f"kernel/fs/ext4.ko:\nkernel/kernel/{name}:\n"}
    found = headers_finding(tmp_path, depends)
    assert found == Finding("headers", OK, "in the module kheaders, which BCC loads")
    assert headers_finding(tmp_path, {**depends, "proc/self/status": NO_CAPABILITY}) == Finding(
        "headers",
        WARNING,
        "in the module kheaders, which needs CAP_SYS_MODULE to be loaded",
        "modprobe kheaders",
    )
    disabled = {**depends, "proc/sys/kernel/modules_disabled": "1\n"}
    assert headers_finding(tmp_path, disabled).verdict is PROBLEM


def test_a_module_with_a_similar_name_is_not_kheaders(tmp_path: Path) -> None:
    depends = {f"{MODULES}/modules.dep": "kernel/x/not_kheaders.ko: kernel/kernel/kheaders.ko\n"}
    assert headers_finding(tmp_path, depends).verdict is PROBLEM


def test_bcc_kernel_source_overrides_the_build_folder(tmp_path: Path) -> None:
    (tmp_path / "src" / KCONFIG).parent.mkdir(parents=True)
    (tmp_path / "src" / KCONFIG).touch()
    environ = {"BCC_KERNEL_SOURCE": str(tmp_path / "src")}
    assert headers_finding(tmp_path, {}, environ) == Finding("headers", OK, f"{tmp_path}/src")
    environ = {"BCC_KERNEL_SOURCE": str(tmp_path / "elsewhere")}
    found = headers_finding(tmp_path, {f"{MODULES}/build/{KCONFIG}": ""}, environ)
    assert found.verdict is PROBLEM
    assert found.what == (
        f"no kernel headers: BCC_KERNEL_SOURCE={tmp_path}/elsewhere has no {KCONFIG}"
    )
    assert found.fix == f"unset BCC_KERNEL_SOURCE, and {INSTALL}"
    assert (
        headers_finding(tmp_path, {ARCHIVE: "x"}, environ).verdict is OK
    )  # the archive is still searched


def test_bcc_kernel_modules_suffix_renames_the_build_folder(tmp_path: Path) -> None:
    environ = {"BCC_KERNEL_MODULES_SUFFIX": "kernel-devel"}
    files = {f"{MODULES}/kernel-devel/{KCONFIG}": ""}
    assert headers_finding(tmp_path, files, environ).verdict is OK
    assert headers_finding(tmp_path, files).verdict is PROBLEM


def test_unreadable_headers_are_unknown(tmp_path: Path) -> None:
    (tmp_path / MODULES).mkdir(parents=True)
    build = tmp_path / MODULES / "build"
    build.symlink_to(build)
    assert headers_finding(tmp_path, {}) == Finding(
        "headers", UNKNOWN, f"{build} can't be read (Too many levels of symbolic links)"
    )


def test_without_headers_cached_programs_reduce_the_problem_to_a_warning(tmp_path: Path) -> None:
    host = machine(tmp_path, NONE)
    empty, filled = tmp_path / "empty", tmp_path / "filled"
    filled.mkdir()
    (filled / "0.bpf").write_bytes(b"")
    found = [headers(Facts(host, cache=cache, environ={})) for cache in (None, empty, filled)]
    assert [finding.verdict for finding in found] == [PROBLEM, PROBLEM, WARNING]
    what = f"no kernel headers for {RELEASE}: only programs in the cache can be attached"
    assert found[2] == Finding("headers", WARNING, what, INSTALL)


def test_without_headers_and_bcc_programs_compiled_elsewhere_can_be_attached(
    tmp_path: Path,
) -> None:
    host = machine(tmp_path, {**NONE, "dist/bcc/__init__.py": None})
    programs = tmp_path / "programs"
    for verdict, end in (
        (PROBLEM, ""),
        (WARNING, f": only programs of {programs} can be attached"),
    ):
        found = examine(host, tmp_path / "dist", environ={}, programs=programs)
        assert {f for f in found if f.verdict is verdict} == {
            Finding("headers", verdict, f"no kernel headers for {RELEASE}{end}", INSTALL),
            Finding("bcc", verdict, f"BCC is not installed{end}", BCC),
        }
        programs.mkdir(exist_ok=True)
        (programs / "0.bpf").write_bytes(b"")


def test_the_fix_is_the_command_of_this_distribution(tmp_path: Path) -> None:
    assert headers_finding(tmp_path, {"etc/os-release": "ID=fedora\n"}).fix == (
        f"dnf install kernel-devel-{RELEASE}"
    )


def test_kernel_source_is_bcc_kernel_source_if_set(tmp_path: Path) -> None:
    facts = Facts(machine(tmp_path, {}), environ={"BCC_KERNEL_SOURCE": "/usr/src/linux"})
    assert kernel_source(facts) == Path("/usr/src/linux")
