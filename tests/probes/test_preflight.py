# SPDX-License-Identifier: Apache-2.0
"""What keeps probes from attaching, and the one right diagnosis of each kernel that won't do."""

from pathlib import Path

import pytest

from probes.host import Host
from probes.preflight import Finding, Verdict, examine, is_ready, obstacles, switched_off
from probes.preflight.facts import Facts
from tests.probes.preflight_host import (
    BTF,
    CONFIG,
    KALLSYMS,
    KPROBE_PMU,
    SYMBOLS_5_15,
    SYMBOLS_6_1,
    SYSCTL,
    btf,
    config,
    kallsyms,
    machine,
)
from tests.probes.trees import make_host

Changes = dict[str, str | bytes | None]

NO_HVO: Changes = {
    KALLSYMS: kallsyms("vmemmap_populate", "vmemmap_verify"),
    CONFIG: config("HUGETLB_PAGE_OPTIMIZE_VMEMMAP"),
    SYSCTL: None,
}


def said(root: Path, changes: Changes, kind: str = "x86_64") -> list[str]:
    return [
        str(finding) for finding in obstacles(Facts(machine(root, changes, kind), root / "dist"))
    ]


def amiss(root: Path, changes: Changes, kind: str = "x86_64") -> list[Finding]:
    findings = examine(machine(root, changes, kind), root / "dist")
    return [finding for finding in findings if finding.verdict is not Verdict.OK]


def test_nothing_in_the_way(tmp_path: Path) -> None:
    assert said(tmp_path, {}) == []


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        (KALLSYMS, "can't be read (No such file or directory): the kernel needs CONFIG_KALLSYMS"),
        (KPROBE_PMU, "this kernel has no kprobes: use a kernel with CONFIG_KPROBES and CONFIG_KPR"),
        ("proc/self/status", "no privilege to attach probes: run as root"),
        ("dist/bcc/__init__.py", "BCC is not installed: apt install python3-bpfcc"),
        (
            "modules/6.1.0-test/build/Makefile",
            "no kernel headers for 6.1.0-test: apt install linux-headers-6.1.0-test",
        ),
    ],
)
def test_each_obstacle_is_named_with_its_fix(tmp_path: Path, missing: str, line: str) -> None:
    (obstacle,) = said(tmp_path, {missing: None})
    assert line in obstacle


def test_all_obstacles_are_told_at_once(tmp_path: Path) -> None:
    nothing = Host(tmp_path, tmp_path, tmp_path, "x", "x86_64", tmp_path)
    names = [finding.name for finding in obstacles(Facts(nothing, tmp_path))]
    assert names == ["hvo", "kprobes", "btf", "headers", "bcc", "privileges"]


def test_a_struct_page_that_hvo_refuses_is_an_obstacle(tmp_path: Path) -> None:
    (obstacle,) = said(tmp_path, {SYSCTL: None, BTF: btf(56)})
    assert "56 bytes, no power of two" in obstacle


def test_what_only_saves_nothing_now_is_no_obstacle(tmp_path: Path) -> None:
    assert said(tmp_path, {SYSCTL: "0\n"}) == []


@pytest.mark.parametrize(
    ("switch", "warns"), [("0\n", True), ("1\n", False), ("2\n", False), (None, False)]
)
def test_a_switch_that_is_off(tmp_path: Path, switch: str | None, warns: bool) -> None:
    warning = switched_off(machine(tmp_path, {SYSCTL: switch}))
    assert bool(warning) is warns
    if warning:
        assert str(warning) == (
            "HVO is switched off, so new huge pages are not optimised: "
            "sysctl vm.hugetlb_optimize_vmemmap=1 (boot: hugetlb_free_vmemmap=on)"
        )


def test_a_kernel_that_shows_nothing_but_its_switch(tmp_path: Path) -> None:
    assert switched_off(make_host(tmp_path / "off", {SYSCTL: "0\n"}))
    assert switched_off(make_host(tmp_path / "bare", {})) is None


@pytest.mark.parametrize("symbols", [SYMBOLS_6_1, SYMBOLS_5_15])
def test_a_machine_in_order(tmp_path: Path, symbols: tuple[str, ...]) -> None:
    findings = examine(machine(tmp_path, {KALLSYMS: kallsyms(*symbols)}), tmp_path / "dist")
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert is_ready(findings)
    assert [finding.name for finding in findings] == [
        "architecture",
        "config",
        "hvo",
        "struct page",
        "boot",
        "switch",
        "hotplug",
        "pools",
        "lockdown",
        "kprobes",
        "btf",
        "headers",
        "bcc",
        "privileges",
        "kptr_restrict",
        "optimize",
        "remap_range",
        "remap_pte",
        "restore",
        "restore_pte",
    ]


def test_a_kernel_without_hvo(tmp_path: Path) -> None:
    evidence, diagnosis = amiss(tmp_path, NO_HVO)
    assert diagnosis == Finding(
        "hvo",
        Verdict.PROBLEM,
        "this kernel has no HugeTLB vmemmap optimisation that hvoscope knows",
        "use Linux 5.14 or later with CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP on x86-64",
    )
    assert evidence == Finding(
        "config",
        Verdict.WARNING,
        f"{tmp_path}/{CONFIG} lacks CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP",
    )
    assert said(tmp_path, NO_HVO) == [str(diagnosis)]


def test_hvo_switched_off(tmp_path: Path) -> None:
    (diagnosis,) = amiss(tmp_path, {SYSCTL: "0\n"})
    assert diagnosis == Finding(
        "switch",
        Verdict.WARNING,
        "HVO is switched off, so new huge pages are not optimised",
        "sysctl vm.hugetlb_optimize_vmemmap=1 (boot: hugetlb_free_vmemmap=on)",
    )
    assert is_ready([diagnosis])


def test_hidden_addresses(tmp_path: Path) -> None:
    hidden = kallsyms(*SYMBOLS_6_1).replace("ffffffff81000000", "0000000000000000")
    (diagnosis,) = amiss(tmp_path, {KALLSYMS: hidden, "proc/sys/kernel/kptr_restrict": "2\n"})
    assert diagnosis == Finding(
        "kptr_restrict",
        Verdict.WARNING,
        "addresses are hidden: why pages are skipped stays unknown",
        "sysctl kernel.kptr_restrict=1",
    )


def test_a_struct_page_that_is_no_power_of_two(tmp_path: Path) -> None:
    (diagnosis,) = amiss(tmp_path, {BTF: btf(56), SYSCTL: None})
    assert diagnosis == Finding(
        "struct page",
        Verdict.PROBLEM,
        "56 bytes, no power of two: HVO has switched itself off",
        "use a kernel with CONFIG_SLUB or CONFIG_MEMCG, and without CONFIG_KMSAN",
    )
    assert not is_ready([diagnosis])


def test_a_kernel_without_kprobes(tmp_path: Path) -> None:
    changes: Changes = {
        KPROBE_PMU: None,
        "sys/kernel/debug/kprobes/enabled": None,
        CONFIG: config("KPROBES", "KPROBE_EVENTS"),
    }
    evidence, diagnosis = amiss(tmp_path, changes)
    assert diagnosis == Finding(
        "kprobes",
        Verdict.PROBLEM,
        "this kernel has no kprobes",
        "use a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS",
    )
    assert (evidence.name, evidence.verdict) == ("config", Verdict.WARNING)
    assert evidence.what == f"{tmp_path}/{CONFIG} lacks CONFIG_KPROBES, CONFIG_KPROBE_EVENTS"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (
            "aarch64",
            "arm64: Linux has HVO off since 6.3, as a live PTE can't be given another frame",
        ),
        (
            "s390x",
            "s390: Linux has HVO off since 2025, as a valid PTE can't be replaced by another",
        ),
        ("ppc64le", "ppc64le: Linux never had HVO here"),
    ],
)
def test_an_architecture_without_hvo(tmp_path: Path, kind: str, what: str) -> None:
    diagnosis, evidence = amiss(tmp_path, NO_HVO, kind)
    assert (evidence.name, evidence.verdict) == ("config", Verdict.WARNING)
    assert diagnosis == Finding(
        "architecture",
        Verdict.PROBLEM,
        what,
        "use an x86-64 machine, or try hvoscope here with `hvoscope serve --backend sim`",
    )
    assert said(tmp_path, NO_HVO, kind) == [str(diagnosis)]


def test_an_arm_kernel_from_before_hvo_was_taken_out(tmp_path: Path) -> None:
    (warning,) = amiss(tmp_path, {}, "aarch64")
    assert (warning.name, warning.verdict) == ("architecture", Verdict.WARNING)
    assert warning.what.endswith("another frame; this kernel still has it")
    assert warning.fix == "update the kernel, and leave HVO off until then"


@pytest.mark.parametrize("kind", ["x86_64", "riscv64", "loongarch64"])
def test_an_architecture_with_hvo(tmp_path: Path, kind: str) -> None:
    assert amiss(tmp_path, {}, kind) == []


def test_a_machine_that_shows_nothing_is_told_in_unknowns_and_problems(tmp_path: Path) -> None:
    nothing = Host(tmp_path, tmp_path, tmp_path, "x", "x86_64", tmp_path)
    verdicts = {finding.name: finding.verdict for finding in examine(nothing, tmp_path)}
    unknown = {name for name, verdict in verdicts.items() if verdict is Verdict.UNKNOWN}
    assert unknown == {"config", "lockdown"}
    assert verdicts["hvo"] is Verdict.PROBLEM
    assert "switch" not in verdicts
