# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the checks of the kernel build and its HVO."""

import gzip
import shutil
from pathlib import Path

import pytest

from probes.preflight import Finding, Verdict, examine
from probes.preflight.facts import Facts, error_text
from tests.probes.preflight_host import (
    BTF,
    CONFIG,
    KALLSYMS,
    KPROBE_PMU,
    RELEASE,
    SYMBOLS_5_15,
    SYMBOLS_6_1,
    SYSCTL,
    Changes,
    btf,
    config,
    finding_of,
    kallsyms,
    machine,
)

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
OLD: Changes = {KALLSYMS: kallsyms(*SYMBOLS_5_15), SYSCTL: None}
POOLS = "sys/kernel/mm/hugepages"
HOTPLUG = "sys/module/memory_hotplug/parameters/memmap_on_memory"


def cmdline(text: str) -> Changes:
    return {"proc/cmdline": f"quiet {text}\n"}


def test_config_is_read_from_proc_config_gz(tmp_path: Path) -> None:
    blob = gzip.compress(config("BPF_EVENTS").encode())
    finding = finding_of(tmp_path, "config", {"proc/config.gz": blob})
    assert finding.what == f"{tmp_path}/proc/config.gz lacks CONFIG_BPF_EVENTS"
    assert (finding.verdict, finding.fix) == (PROBLEM, "use a kernel with CONFIG_BPF_EVENTS")


@pytest.mark.parametrize(
    "broken", [b"", b"no gzip", gzip.compress(b"CONFIG_KPROBES=y\n", mtime=0)[:-9]]
)
def test_a_broken_config_gz_is_skipped(tmp_path: Path, broken: bytes) -> None:
    finding = finding_of(tmp_path, "config", {"proc/config.gz": broken})
    assert finding == Finding("config", OK, f"{tmp_path}/{CONFIG} has all needed options")


def test_config_is_read_from_the_modules_folder(tmp_path: Path) -> None:
    path = f"modules/{RELEASE}/config"
    finding = finding_of(tmp_path, "config", {CONFIG: None, path: config()})
    assert finding == Finding("config", OK, f"{tmp_path}/{path} has all needed options")


def test_a_missing_config_is_unknown(tmp_path: Path) -> None:
    finding = finding_of(tmp_path, "config", {CONFIG: None})
    assert finding.verdict is UNKNOWN
    assert finding.what.startswith(f"not found in {tmp_path}/proc/config.gz, {tmp_path}/boot or ")


def test_the_option_name_of_5_14_is_accepted(tmp_path: Path) -> None:
    text = config().replace("_OPTIMIZE_", "_FREE_")
    assert finding_of(tmp_path, "config", {CONFIG: text}).verdict is OK


@pytest.mark.parametrize("text", [config("BPF_SYSCALL"), config().replace("BPF_SYSCALL=y", "")])
def test_a_missing_option_that_only_config_shows_is_a_problem(tmp_path: Path, text: str) -> None:
    finding = finding_of(tmp_path, "config", {CONFIG: text})
    assert (finding.verdict, finding.fix) == (PROBLEM, "use a kernel with CONFIG_BPF_SYSCALL")


def test_all_missing_options_that_only_config_shows_are_in_the_fix(tmp_path: Path) -> None:
    finding = finding_of(tmp_path, "config", {CONFIG: config("BPF_SYSCALL", "BPF_EVENTS")})
    assert finding.fix == "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS"


@pytest.mark.parametrize(
    ("changes", "verdict", "what", "fix"),
    [
        ({BTF: btf(64)}, OK, "64 bytes", ""),
        (
            {BTF: btf(80)},
            PROBLEM,
            "80 bytes, not a power of two: HVO has switched itself off",
            "use a kernel with CONFIG_SLUB or CONFIG_MEMCG, and without CONFIG_KMSAN",
        ),
        ({BTF: None}, UNKNOWN, "its size is unknown without BTF", ""),
        ({BTF: btf(64)[:20]}, UNKNOWN, "its size is unknown without BTF", ""),
        (
            {BTF: btf(64, "book")},
            PROBLEM,
            "the kernel's BTF does not describe it ('page')",
            "use a kernel with complete BTF (CONFIG_DEBUG_INFO_BTF)",
        ),
    ],
)
def test_the_verdict_on_struct_page(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str, fix: str
) -> None:
    finding = finding_of(tmp_path, "struct page", changes)
    assert finding == Finding("struct page", verdict, what, fix)


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({}, OK, "hugetlb_free_vmemmap= is not set; the default is off"),
        (
            {CONFIG: config() + "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON=y\n"},
            OK,
            "hugetlb_free_vmemmap= is not set; the default is on",
        ),
        (
            {CONFIG: None},
            OK,
            "hugetlb_free_vmemmap= is not set; the default is unknown",
        ),
        (cmdline("hugetlb_free_vmemmap=on"), OK, "hugetlb_free_vmemmap=on"),
        (cmdline("hugetlb_free_vmemmap=N"), OK, "hugetlb_free_vmemmap=N"),
        (cmdline("hugetlb_free_vmemmap=x hugetlb_free_vmemmap=1"), OK, "hugetlb_free_vmemmap=1"),
        (
            cmdline("hugetlb_free_vmemmap=enable"),
            WARNING,
            "hugetlb_free_vmemmap=enable is accepted only by some kernels",
        ),
        (
            cmdline("hugetlb_free_vmemmap=2"),
            WARNING,
            "hugetlb_free_vmemmap=2 is ignored by this kernel",
        ),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap")},  # ignored, like =1
            WARNING,
            "hugetlb_free_vmemmap without a value is ignored by this kernel",
        ),
        (
            {
                KALLSYMS: kallsyms(*SYMBOLS_6_1, "hugetlb_vmemmap_optimize_param"),
                **cmdline("hugetlb_free_vmemmap"),  # Linux 6.15: kstrtobool gets no text
            },
            WARNING,
            "hugetlb_free_vmemmap without a value is ignored by this kernel",
        ),
        (
            cmdline("hugetlb_free_vmemmap"),  # Linux 6.0 to 6.14: a core_param of type bool
            OK,
            "hugetlb_free_vmemmap without a value, which means on",
        ),
        (
            {KALLSYMS: "", **cmdline("hugetlb_free_vmemmap")},  # of one of these, not known which
            WARNING,
            "hugetlb_free_vmemmap without a value is accepted only by some kernels",
        ),
        (cmdline('"hugetlb_free_vmemmap=on"'), OK, "hugetlb_free_vmemmap=on"),
        ({**OLD, **cmdline('hugetlb-free-vmemmap="on"')}, OK, "hugetlb_free_vmemmap=on"),
        (
            cmdline("-- hugetlb_free_vmemmap=on"),
            OK,
            "hugetlb_free_vmemmap= is not set; the default is off",
        ),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap=1")},  # Linux 5.14 accepts only on and off
            WARNING,
            "hugetlb_free_vmemmap=1 is ignored by this kernel",
        ),
    ],
)
def test_the_verdict_on_the_boot_parameter(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str
) -> None:
    finding = finding_of(tmp_path, "boot", changes)
    assert (finding.verdict, finding.what) == (verdict, what)
    assert finding.fix == ("boot with hugetlb_free_vmemmap=on" if verdict is WARNING else "")


@pytest.mark.parametrize(
    ("changes", "verdict", "what", "fix"),
    [
        ({SYSCTL: "1\n"}, OK, "on: vm.hugetlb_optimize_vmemmap is 1", ""),
        ({SYSCTL: None}, UNKNOWN, "vm.hugetlb_optimize_vmemmap does not exist", ""),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap=on hugetlb_free_vmemmap=1")},
            OK,  # the kernel ignores the second value
            "on since boot; this kernel has no sysctl for it",
            "",
        ),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap=on")},
            OK,
            "on since boot; this kernel has no sysctl for it",
            "",
        ),
        (
            OLD,
            WARNING,
            "HVO is switched off, so new huge pages are not optimized",
            "boot with hugetlb_free_vmemmap=on",
        ),
        (
            {**OLD, CONFIG: None},
            UNKNOWN,
            "neither the boot parameter nor the kernel config shows it",
            "",
        ),
    ],
)
def test_the_verdict_on_the_switch(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str, fix: str
) -> None:
    assert finding_of(tmp_path, "switch", changes) == Finding("switch", verdict, what, fix)


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({HOTPLUG: "N\n"}, OK, "memory_hotplug.memmap_on_memory is off"),
        ({HOTPLUG: None}, OK, "memory_hotplug.memmap_on_memory is off"),
        (
            {HOTPLUG: "Y\n"},
            WARNING,
            "memmap_on_memory is on: hot-added memory can't be optimized",
        ),
        (
            {HOTPLUG: "force\n"},
            WARNING,
            "memmap_on_memory is on: hot-added memory can't be optimized",
        ),
        (
            {HOTPLUG: "Y\n", SYSCTL: None},
            WARNING,
            "memmap_on_memory is on, which removes vm.hugetlb_optimize_vmemmap",
        ),
        ({**OLD, HOTPLUG: "Y\n"}, OK, "HVO overrides memory_hotplug.memmap_on_memory"),
    ],
)
def test_the_verdict_on_hotplug(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str
) -> None:
    fix = "boot with memory_hotplug.memmap_on_memory=off" if verdict is WARNING else ""
    assert finding_of(tmp_path, "hotplug", changes) == Finding("hotplug", verdict, what, fix)


def unreadable(path: Path) -> None:
    """Replace a file or folder by a link to itself, which even root can't read."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("name", "path", "what"),
    [
        ("boot", "proc/cmdline", "{} can't be read (Too many levels of symbolic links)"),
        ("hotplug", HOTPLUG, "{} can't be read (Too many levels of symbolic links)"),
        ("pools", POOLS, "{} can't be read (Too many levels of symbolic links)"),
        ("kprobes", KPROBE_PMU, "{} can't be read (Too many levels of symbolic links)"),
    ],
)
def test_an_unreadable_file_is_unknown(tmp_path: Path, name: str, path: str, what: str) -> None:
    host = machine(tmp_path, {})
    unreadable(tmp_path / path)
    (finding,) = (f for f in examine(host, tmp_path / "dist") if f.name == name)
    assert finding == Finding(name, UNKNOWN, what.format(tmp_path / path))


def test_an_unreadable_switch_is_not_reported_as_missing(tmp_path: Path) -> None:
    host = machine(tmp_path, {HOTPLUG: "Y\n"})
    unreadable(tmp_path / SYSCTL)
    findings = {finding.name: finding for finding in examine(host, tmp_path / "dist")}
    assert findings["switch"].what == "vm.hugetlb_optimize_vmemmap can't be read"
    assert findings["hotplug"].what.endswith("hot-added memory can't be optimized")


def test_an_unreadable_config_is_not_reported_as_missing(tmp_path: Path) -> None:
    host = machine(tmp_path, {CONFIG: None})
    unreadable(tmp_path / "proc/config.gz")
    (finding,) = (f for f in examine(host, tmp_path / "dist") if f.name == "config")
    assert finding.verdict is UNKNOWN
    assert finding.what == (
        f"{tmp_path}/proc/config.gz can't be read (Too many levels of symbolic links)"
    )


def test_two_unreadable_configs_are_both_reported(tmp_path: Path) -> None:
    host = machine(tmp_path, {})
    for path in ("proc/config.gz", CONFIG):
        unreadable(tmp_path / path)
    (finding,) = (f for f in examine(host, tmp_path / "dist") if f.name == "config")
    assert finding.what == (
        f"{tmp_path}/proc/config.gz can't be read (Too many levels of symbolic links); "
        f"{tmp_path}/{CONFIG} can't be read (Too many levels of symbolic links)"
    )


@pytest.mark.parametrize(
    ("changes", "enabled"),
    [
        (cmdline("hugetlb_free_vmemmap"), True),  # Linux 6.0 to 6.14
        (cmdline("hugetlb_free_vmemmap=off"), False),
        ({KALLSYMS: None, **cmdline("hugetlb_free_vmemmap")}, None),
    ],
)
def test_whether_the_kernel_booted_with_hvo_on(
    tmp_path: Path, changes: Changes, enabled: bool | None
) -> None:
    assert Facts(machine(tmp_path, changes)).enabled_at_boot is enabled


def test_bytes_of_a_configuration_that_are_no_ascii_are_passed_over(tmp_path: Path) -> None:
    blob = gzip.compress(config("BPF_EVENTS").encode() + b"# caf\xe9\n")
    finding = finding_of(tmp_path, "config", {"proc/config.gz": blob})
    assert finding.what == f"{tmp_path}/proc/config.gz lacks CONFIG_BPF_EVENTS"


def test_an_error_without_words_is_told_by_its_type() -> None:
    assert error_text(EOFError()) == "EOFError"
