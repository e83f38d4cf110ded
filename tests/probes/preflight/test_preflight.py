# SPDX-License-Identifier: Apache-2.0
"""What keeps probes from attaching, and the one right diagnosis of each kernel that won't do."""

from pathlib import Path

import pytest

from probes.kernel.host import Host
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
        ("dist/bcc/__init__.py", "BCC is not installed: apt install python3-bpfcc"),
        (
            "modules/6.1.0-test/build/include/linux/kconfig.h",
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
    assert names == ["hvo", "kprobes", "btf", "headers", "bcc"]


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
            "arm64: Linux took HVO out in 6.3, as a live PTE must not be given another frame",
        ),
        (
            "s390x",
            "s390: Linux took HVO out in 2025, as a valid PTE must not be replaced by another",
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
        f"{what}; this kernel has none",
        "use an x86-64 machine, or try hvoscope here with `hvoscope serve --backend sim`",
    )
    assert said(tmp_path, NO_HVO, kind) == [str(diagnosis)]


def test_an_arm_kernel_from_before_hvo_was_taken_out(tmp_path: Path) -> None:
    (warning,) = amiss(tmp_path, {}, "aarch64")
    assert (warning.name, warning.verdict) == ("architecture", Verdict.WARNING)
    assert warning.what.endswith("another frame; this kernel still has it")
    assert warning.fix == "update the kernel, and leave HVO off until then"


SYMBOLS_6_7 = ("hugetlb_vmemmap_optimize_folios", "__hugetlb_vmemmap_optimize_folio")


@pytest.mark.parametrize("kind", ["aarch64", "ppc64le"])
def test_a_kernel_that_has_hvo_where_linux_had_none(tmp_path: Path, kind: str) -> None:
    """Its functions decide, not its architecture: arm64's are newer than those taken out."""
    found = examine(machine(tmp_path, {KALLSYMS: kallsyms(*SYMBOLS_6_7)}, kind), tmp_path / "dist")
    assert found[0] == Finding("architecture", Verdict.OK, f"{kind}: this kernel has HVO")


def test_a_kernel_of_riscv_without_hvo_is_told_what_has_it(tmp_path: Path) -> None:
    *_, diagnosis = amiss(tmp_path, NO_HVO, "riscv64")
    assert diagnosis.fix == "use Linux 6.4 or later with CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP"
    (*_, diagnosis) = amiss(tmp_path, NO_HVO, "loongarch64")
    assert diagnosis.fix == "use a kernel with CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("x86_64", "x86-64: Linux has HVO here since 5.14"),
        # riscv-for-linus-6.4-mw1 has it.
        ("riscv64", "riscv: Linux has HVO here since 6.4"),
        ("loongarch64", "loongarch: Linux has HVO here"),
    ],
)
def test_an_architecture_with_hvo_is_told_since_when(tmp_path: Path, kind: str, said: str) -> None:
    assert amiss(tmp_path, {}, kind) == []
    found = examine(machine(tmp_path, {}, kind), tmp_path / "dist")
    assert found[0] == Finding("architecture", Verdict.OK, said)


def test_a_machine_that_shows_nothing_is_told_in_unknowns_and_problems(tmp_path: Path) -> None:
    nothing = Host(tmp_path, tmp_path, tmp_path, "x", "x86_64", tmp_path)
    verdicts = {finding.name: finding.verdict for finding in examine(nothing, tmp_path)}
    unknown = {name for name, verdict in verdicts.items() if verdict is Verdict.UNKNOWN}
    assert unknown == {"config", "lockdown", "privileges"}
    assert verdicts["hvo"] is Verdict.PROBLEM
    assert "switch" not in verdicts


HIDDEN = "hidden from this process (ProtectKernelTunables?)"
UNHIDE = "set ProtectKernelTunables=no in the unit, or run hvoscope outside of that sandbox"


def hvo(root: Path, changes: Changes) -> Finding:
    host = machine(root, changes)
    return next(f for f in examine(host, root / "dist") if f.name == "hvo")


def test_an_empty_symbol_table_is_hidden_and_the_sysctl_is_proof_of_hvo(tmp_path: Path) -> None:
    assert hvo(tmp_path, {KALLSYMS: ""}) == Finding(
        "hvo",
        Verdict.PROBLEM,
        f"HVO is there ({tmp_path}/{SYSCTL}), but the symbol table {tmp_path}/{KALLSYMS} is empty: "
        + HIDDEN,
        UNHIDE,
    )
    assert said(tmp_path, {KALLSYMS: ""}) == [str(hvo(tmp_path, {KALLSYMS: ""}))]


def test_an_empty_symbol_table_says_nothing_against_hvo(tmp_path: Path) -> None:
    finding = hvo(tmp_path, {KALLSYMS: "", SYSCTL: None})
    assert finding.what.startswith(f"HVO is compiled in ({tmp_path}/{CONFIG}), but the symbol ")
    bare = tmp_path / "bare"
    finding = hvo(bare, {KALLSYMS: "", SYSCTL: None, CONFIG: None})
    assert finding.what == f"the symbol table {bare}/{KALLSYMS} is empty: {HIDDEN}"
    arm = machine(bare, {KALLSYMS: "", SYSCTL: None, CONFIG: None}, "aarch64")
    (architecture,) = (f for f in examine(arm, bare / "dist") if f.name == "architecture")
    assert architecture.verdict is Verdict.UNKNOWN


def test_a_symbol_table_that_can_not_be_read_is_hidden(tmp_path: Path) -> None:
    host = machine(tmp_path, {SYSCTL: None, CONFIG: None})
    (tmp_path / KALLSYMS).unlink()
    (tmp_path / KALLSYMS).symlink_to(tmp_path / KALLSYMS)
    finding = next(f for f in examine(host, tmp_path / "dist") if f.name == "hvo")
    assert finding.what.endswith(f"can't be read (Too many levels of symbolic links): {HIDDEN}")
    assert finding.fix == UNHIDE


def test_a_folder_without_procfs_is_named(tmp_path: Path) -> None:
    for proc in (tmp_path / "empty", tmp_path / "gone"):
        host = Host(proc, tmp_path, tmp_path, "x", "x86_64", tmp_path)
        (tmp_path / "empty").mkdir(exist_ok=True)
        finding = next(f for f in examine(host, tmp_path) if f.name == "hvo")
        assert finding.what == f"no procfs is mounted on {proc}"
        assert finding.fix.endswith("say where it is with --path.procfs")


def test_functions_that_hvoscope_does_not_know(tmp_path: Path) -> None:
    finding = hvo(tmp_path, {KALLSYMS: kallsyms("vmemmap_populate", "vmemmap_of_tomorrow")})
    assert finding.verdict is Verdict.PROBLEM
    assert finding.what == (
        f"this kernel has HVO ({tmp_path}/{SYSCTL}), under function names unknown to hvoscope"
    )
