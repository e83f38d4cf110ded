# SPDX-License-Identifier: Apache-2.0
"""Attach problems, and the diagnosis of each kernel on which hvoscope can't work."""

from pathlib import Path

import pytest

from probes.kernel.host import Host
from probes.preflight import Finding, Verdict, at_start, examine, is_ready, problems, switched_off
from probes.preflight.facts import Facts
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
    kallsyms,
    machine,
)
from tests.probes.trees import make_host

NO_HVO: Changes = {
    KALLSYMS: kallsyms("vmemmap_populate", "vmemmap_verify"),
    CONFIG: config("HUGETLB_PAGE_OPTIMIZE_VMEMMAP"),
    SYSCTL: None,
}


def attach_problems(root: Path, changes: Changes, kind: str = "x86_64") -> list[str]:
    return [
        str(finding)
        for finding in problems(at_start(Facts(machine(root, changes, kind), root / "dist")))
    ]


def findings_not_ok(root: Path, changes: Changes, kind: str = "x86_64") -> list[Finding]:
    findings = examine(machine(root, changes, kind), root / "dist")
    return [finding for finding in findings if finding.verdict is not Verdict.OK]


def test_a_working_machine_has_no_attach_problems(tmp_path: Path) -> None:
    assert attach_problems(tmp_path, {}) == []


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
def test_each_attach_problem_is_reported_with_its_fix(
    tmp_path: Path, missing: str, line: str
) -> None:
    (problem,) = attach_problems(tmp_path, {missing: None})
    assert line in problem


def test_all_attach_problems_are_reported_together(tmp_path: Path) -> None:
    nothing = Host(tmp_path, tmp_path, tmp_path, "x", "x86_64", tmp_path)
    names = [finding.name for finding in problems(at_start(Facts(nothing, tmp_path)))]
    assert names == ["hvo", "kprobes", "btf", "headers", "bcc"]


def test_a_struct_page_size_of_56_is_an_attach_problem(tmp_path: Path) -> None:
    (problem,) = attach_problems(tmp_path, {SYSCTL: None, BTF: btf(56)})
    assert "56 bytes, not a power of two" in problem


def test_a_switch_that_is_off_is_not_an_attach_problem(tmp_path: Path) -> None:
    assert attach_problems(tmp_path, {SYSCTL: "0\n"}) == []


@pytest.mark.parametrize(
    ("switch", "warns"), [("0\n", True), ("1\n", False), ("2\n", False), (None, False)]
)
def test_switched_off_warns_only_if_the_sysctl_is_0(
    tmp_path: Path, switch: str | None, warns: bool
) -> None:
    warning = switched_off(machine(tmp_path, {SYSCTL: switch}))
    assert bool(warning) is warns
    if warning:
        assert str(warning) == (
            "HVO is switched off, so new huge pages are not optimized: "
            "sysctl vm.hugetlb_optimize_vmemmap=1 (boot: hugetlb_free_vmemmap=on)"
        )


def test_switched_off_needs_only_the_sysctl(tmp_path: Path) -> None:
    assert switched_off(make_host(tmp_path / "off", {SYSCTL: "0\n"}))
    assert switched_off(make_host(tmp_path / "bare", {})) is None


@pytest.mark.parametrize("symbols", [SYMBOLS_6_1, SYMBOLS_5_15])
def test_a_working_machine_is_ok_in_every_check(tmp_path: Path, symbols: tuple[str, ...]) -> None:
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


def test_a_kernel_without_hvo_has_one_problem(tmp_path: Path) -> None:
    evidence, diagnosis = findings_not_ok(tmp_path, NO_HVO)
    assert diagnosis == Finding(
        "hvo",
        Verdict.PROBLEM,
        "this kernel has no HugeTLB vmemmap optimization that hvoscope knows",
        "use Linux 5.14 or later with CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP on x86-64",
    )
    assert evidence == Finding(
        "config",
        Verdict.WARNING,
        f"{tmp_path}/{CONFIG} lacks CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP",
    )
    assert attach_problems(tmp_path, NO_HVO) == [str(diagnosis)]


def test_hvo_switched_off_is_one_warning(tmp_path: Path) -> None:
    (diagnosis,) = findings_not_ok(tmp_path, {SYSCTL: "0\n"})
    assert diagnosis == Finding(
        "switch",
        Verdict.WARNING,
        "HVO is switched off, so new huge pages are not optimized",
        "sysctl vm.hugetlb_optimize_vmemmap=1 (boot: hugetlb_free_vmemmap=on)",
    )
    assert is_ready([diagnosis])


def test_hidden_addresses_are_one_warning(tmp_path: Path) -> None:
    hidden = kallsyms(*SYMBOLS_6_1).replace("ffffffff81000000", "0000000000000000")
    (diagnosis,) = findings_not_ok(
        tmp_path, {KALLSYMS: hidden, "proc/sys/kernel/kptr_restrict": "2\n"}
    )
    assert diagnosis == Finding(
        "kptr_restrict",
        Verdict.WARNING,
        "addresses are hidden, so the reason of skipped pages is unknown",
        "sysctl kernel.kptr_restrict=1",
    )


def test_a_struct_page_size_of_56_is_one_problem(tmp_path: Path) -> None:
    (diagnosis,) = findings_not_ok(tmp_path, {BTF: btf(56), SYSCTL: None})
    assert diagnosis == Finding(
        "struct page",
        Verdict.PROBLEM,
        "56 bytes, not a power of two: HVO has switched itself off",
        "use a kernel with CONFIG_SLUB or CONFIG_MEMCG, and without CONFIG_KMSAN",
    )
    assert not is_ready([diagnosis])


def test_a_kernel_without_kprobes_has_one_problem(tmp_path: Path) -> None:
    changes: Changes = {
        KPROBE_PMU: None,
        "sys/kernel/debug/kprobes/enabled": None,
        CONFIG: config("KPROBES", "KPROBE_EVENTS"),
    }
    evidence, diagnosis = findings_not_ok(tmp_path, changes)
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
            "arm64: Linux removed HVO in 6.3, because a live PTE must not change its frame",
        ),
        (
            "s390x",
            "s390: Linux removed HVO in 2025, because a valid PTE must not be replaced by another",
        ),
        ("ppc64le", "ppc64le: Linux never had HVO here"),
    ],
)
def test_an_architecture_without_hvo_has_one_problem(tmp_path: Path, kind: str, what: str) -> None:
    diagnosis, evidence = findings_not_ok(tmp_path, NO_HVO, kind)
    assert (evidence.name, evidence.verdict) == ("config", Verdict.WARNING)
    assert diagnosis == Finding(
        "architecture",
        Verdict.PROBLEM,
        f"{what}; this kernel does not have it",
        "use an x86-64 machine, or try hvoscope here with `hvoscope serve --backend sim`",
    )
    assert attach_problems(tmp_path, NO_HVO, kind) == [str(diagnosis)]


@pytest.mark.parametrize(
    "changes",
    [{**NO_HVO, CONFIG: None}, {**NO_HVO, KALLSYMS: ""}],
    ids=["only symbols", "only the config"],
)
def test_either_shows_that_an_architecture_has_no_hvo(tmp_path: Path, changes: Changes) -> None:
    finding = finding_of("architecture", machine(tmp_path, changes, "s390x"), tmp_path)
    assert finding.verdict is Verdict.PROBLEM
    assert finding.what.endswith("; this kernel does not have it")


def test_hvo_is_compiled_into_the_running_release(tmp_path: Path) -> None:
    assert hvo(tmp_path, {}) == Finding("hvo", Verdict.OK, f"compiled into {RELEASE}")


def test_an_arm64_kernel_with_removed_hvo_is_warned_about(tmp_path: Path) -> None:
    (warning,) = findings_not_ok(tmp_path, {}, "aarch64")
    assert (warning.name, warning.verdict) == ("architecture", Verdict.WARNING)
    assert warning.what.endswith("change its frame; this kernel still has it")
    assert warning.fix == "update the kernel, and keep HVO off until then"


SYMBOLS_6_7 = ("hugetlb_vmemmap_optimize_folios", "__hugetlb_vmemmap_optimize_folio")


@pytest.mark.parametrize("kind", ["aarch64", "ppc64le"])
def test_a_new_kernel_with_hvo_on_another_architecture_is_ok(tmp_path: Path, kind: str) -> None:
    """Its functions decide: on arm64 they are newer than those of the removed HVO."""
    found = examine(machine(tmp_path, {KALLSYMS: kallsyms(*SYMBOLS_6_7)}, kind), tmp_path / "dist")
    assert found[0] == Finding("architecture", Verdict.OK, f"{kind}: this kernel has HVO")


def test_the_fix_for_riscv_and_loongarch_names_the_option(tmp_path: Path) -> None:
    *_, diagnosis = findings_not_ok(tmp_path, NO_HVO, "riscv64")
    assert diagnosis.fix == "use Linux 6.4 or later with CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP"
    (*_, diagnosis) = findings_not_ok(tmp_path, NO_HVO, "loongarch64")
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
def test_hvo_is_ok_and_says_since_when(tmp_path: Path, kind: str, said: str) -> None:
    assert findings_not_ok(tmp_path, {}, kind) == []
    found = examine(machine(tmp_path, {}, kind), tmp_path / "dist")
    assert found[0] == Finding("architecture", Verdict.OK, said)


def test_a_machine_without_files_has_unknowns_and_problems(tmp_path: Path) -> None:
    nothing = Host(tmp_path, tmp_path, tmp_path, "x", "x86_64", tmp_path)
    verdicts = {finding.name: finding.verdict for finding in examine(nothing, tmp_path)}
    unknown = {name for name, verdict in verdicts.items() if verdict is Verdict.UNKNOWN}
    assert unknown == {"config", "lockdown", "privileges"}
    assert verdicts["hvo"] is Verdict.PROBLEM
    assert "switch" not in verdicts


HIDDEN = "hidden from this process (ProtectKernelTunables?)"
SANDBOX_FIX = "set ProtectKernelTunables=no in the unit, or run hvoscope outside of that sandbox"


def finding_of(name: str, host: Host, root: Path) -> Finding:
    """The only one of that name."""
    (found,) = (f for f in examine(host, root / "dist") if f.name == name)
    return found


def hvo(root: Path, changes: Changes) -> Finding:
    return finding_of("hvo", machine(root, changes), root)


def test_an_empty_symbol_table_is_hidden_and_the_sysctl_proves_hvo(tmp_path: Path) -> None:
    assert hvo(tmp_path, {KALLSYMS: ""}) == Finding(
        "hvo",
        Verdict.PROBLEM,
        f"this kernel has HVO ({tmp_path}/{SYSCTL}), but "
        f"the symbol table {tmp_path}/{KALLSYMS} is empty: " + HIDDEN,
        SANDBOX_FIX,
    )
    assert attach_problems(tmp_path, {KALLSYMS: ""}) == [str(hvo(tmp_path, {KALLSYMS: ""}))]


def test_an_empty_symbol_table_does_not_disprove_hvo(tmp_path: Path) -> None:
    finding = hvo(tmp_path, {KALLSYMS: "", SYSCTL: None})
    assert finding.what.startswith(f"HVO is compiled in ({tmp_path}/{CONFIG}), but the symbol ")
    bare = tmp_path / "bare"
    finding = hvo(bare, {KALLSYMS: "", SYSCTL: None, CONFIG: None})
    assert finding.what == f"the symbol table {bare}/{KALLSYMS} is empty: {HIDDEN}"
    arm = machine(bare, {KALLSYMS: "", SYSCTL: None, CONFIG: None}, "aarch64")
    assert finding_of("architecture", arm, bare) == Finding(
        "architecture",
        Verdict.UNKNOWN,
        "arm64: Linux removed HVO in 6.3, because a live PTE must not change its frame; "
        "whether this kernel has it is unknown",
    )


def test_a_config_without_the_option_is_no_evidence_of_hvo(tmp_path: Path) -> None:
    finding = hvo(tmp_path, {**NO_HVO, KALLSYMS: ""})
    assert finding.what == f"the symbol table {tmp_path}/{KALLSYMS} is empty: {HIDDEN}"


@pytest.mark.parametrize("evidence", [SYSCTL, CONFIG])
def test_hvo_of_an_arm64_kernel_without_symbols_is_of_an_unknown_version(
    tmp_path: Path, evidence: str
) -> None:
    """Its sysctl, or else its config, shows that there is HVO; only symbols tell which."""
    other = CONFIG if evidence == SYSCTL else SYSCTL
    host = machine(tmp_path, {KALLSYMS: "", other: None}, "aarch64")
    assert finding_of("architecture", host, tmp_path) == Finding(
        "architecture",
        Verdict.UNKNOWN,
        "arm64: Linux removed HVO in 6.3, because a live PTE must not change its frame; "
        "which version of HVO this kernel has is unknown",
    )


def test_an_unreadable_symbol_table_is_reported_as_hidden(tmp_path: Path) -> None:
    host = machine(tmp_path, {SYSCTL: None, CONFIG: None})
    (tmp_path / KALLSYMS).unlink()
    (tmp_path / KALLSYMS).symlink_to(tmp_path / KALLSYMS)
    finding = next(f for f in examine(host, tmp_path / "dist") if f.name == "hvo")
    assert finding.what.endswith(f"can't be read (Too many levels of symbolic links): {HIDDEN}")
    assert finding.fix == SANDBOX_FIX


def test_a_folder_without_procfs_is_reported(tmp_path: Path) -> None:
    for proc in (tmp_path / "empty", tmp_path / "gone"):
        host = Host(proc, tmp_path, tmp_path, "x", "x86_64", tmp_path)
        (tmp_path / "empty").mkdir(exist_ok=True)
        finding = next(f for f in examine(host, tmp_path) if f.name == "hvo")
        assert finding.what == f"no procfs is mounted on {proc}"
        assert finding.fix.endswith("set its path with --path.procfs")


def test_unknown_functions_of_hvo_are_a_problem(tmp_path: Path) -> None:
    finding = hvo(tmp_path, {KALLSYMS: kallsyms("vmemmap_populate", "vmemmap_unknown_function")})
    assert finding.verdict is Verdict.PROBLEM
    assert finding.what == (
        f"this kernel has HVO ({tmp_path}/{SYSCTL}), but hvoscope does not know its functions"
    )
    assert finding.fix.endswith("add its functions to probes/kernel/hooks.py")
