# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the checks of the requirements for attaching probes."""

from pathlib import Path

import pytest

from probes.preflight import Finding, Verdict, examine
from tests.probes.kernel.test_btf import Blob
from tests.probes.preflight_host import (
    BTF,
    CONFIG,
    KALLSYMS,
    RELEASE,
    SYMBOLS_5_15,
    SYMBOLS_6_1,
    SYSCTL,
    Changes,
    config,
    finding_of,
    kallsyms,
    machine,
)

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
OLD: Changes = {KALLSYMS: kallsyms(*SYMBOLS_5_15), SYSCTL: None}
LOCKDOWN = "sys/kernel/security/lockdown"
STATUS = "proc/self/status"


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({LOCKDOWN: "[none] integrity confidentiality\n"}, OK, "none"),
        ({LOCKDOWN: "none [integrity] confidentiality\n"}, OK, "integrity"),
        ({LOCKDOWN: "none\n"}, OK, "none"),  # in another form than any kernel has
        (
            {LOCKDOWN: "none integrity [confidentiality]\n"},
            PROBLEM,
            "kernel lockdown (confidentiality) forbids kprobes",
        ),
        ({LOCKDOWN: None}, OK, "not in this kernel"),  # according to its config
        (
            {LOCKDOWN: None, CONFIG: None, "sys/kernel/security/lsm": "capability"},
            OK,
            "not in this kernel",
        ),
    ],
)
def test_the_verdict_on_lockdown(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str
) -> None:
    finding = finding_of(tmp_path, "lockdown", changes)
    assert (finding.verdict, finding.what) == (verdict, what)
    assert finding.fix == ("boot with lockdown=integrity" if verdict is PROBLEM else "")


@pytest.mark.parametrize(
    "text", [None, f"{config()}CONFIG_SECURITY_LOCKDOWN_LSM=y\n"], ids=["no config", "compiled in"]
)
def test_unreadable_lockdown_is_unknown(tmp_path: Path, text: str | None) -> None:
    finding = finding_of(tmp_path, "lockdown", {LOCKDOWN: None, CONFIG: text})
    what = f"{tmp_path}/{LOCKDOWN} can't be read"
    assert finding == Finding("lockdown", UNKNOWN, what)


ENABLED = "sys/kernel/debug/kprobes/enabled"


@pytest.mark.parametrize(
    ("changes", "verdict", "what", "fix"),
    [
        ({}, OK, "enabled", ""),
        ({ENABLED: None}, OK, f"compiled in; {{}}/{ENABLED} can't be read", ""),
        (
            {ENABLED: "0\n"},
            PROBLEM,
            "kprobes are switched off, so probes would never be hit",
            f"echo 1 > {{}}/{ENABLED}",
        ),
        (
            {"proc/sys/kernel/ftrace_enabled": "0\n"},
            PROBLEM,
            "ftrace is switched off, so probes would never be hit",
            "sysctl kernel.ftrace_enabled=1",
        ),
        ({"proc/sys/kernel/ftrace_enabled": None}, OK, "enabled", ""),
    ],
)
def test_the_verdict_on_kprobes(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str, fix: str
) -> None:
    finding = finding_of(tmp_path, "kprobes", changes)
    assert finding == Finding("kprobes", verdict, what.format(tmp_path), fix.format(tmp_path))


@pytest.mark.parametrize(
    ("version", "verdict", "what"),
    [
        ("__version__ = '0.26.0'\n", OK, "version 0.26.0"),
        ('__version__ = "0.16.0"\n', OK, "version 0.16.0"),
        (
            "__version__ = '0.12.0'\n",
            WARNING,
            "BCC 0.12.0 does not support ring buffers, so `hvoscope trace` does not work",
        ),
        ("__version__ = '@REVISION@'\n", UNKNOWN, "installed, but its version can't be read"),
    ],
)
def test_the_verdict_on_the_bcc_version(
    tmp_path: Path, version: str, verdict: Verdict, what: str
) -> None:
    finding = finding_of(tmp_path, "bcc", {"dist/bcc/version.py": version})
    assert (finding.verdict, finding.what) == (verdict, what)
    assert finding.fix == ("update BCC to 0.16 or later" if verdict is WARNING else "")


@pytest.mark.parametrize(
    ("capabilities", "verdict", "what"),
    [
        ("0000000000200000", OK, "CAP_SYS_ADMIN"),
        ("000000c000000000", OK, "CAP_BPF and CAP_PERFMON"),
        ("0000008000000000", PROBLEM, "no privilege to attach probes"),  # CAP_BPF alone
        ("0000000000000000", PROBLEM, "no privilege to attach probes"),
    ],
)
def test_the_verdict_on_capabilities(
    tmp_path: Path, capabilities: str, verdict: Verdict, what: str
) -> None:
    finding = finding_of(tmp_path, "privileges", {STATUS: f"CapEff:\t{capabilities}\n"})
    fix = "run as root" if verdict is PROBLEM else ""
    assert finding == Finding("privileges", verdict, what, fix)


def test_root_in_a_user_namespace_is_a_problem(tmp_path: Path) -> None:
    finding = finding_of(tmp_path, "privileges", {"proc/self/uid_map": "0 1000 1\n"})
    assert finding == Finding(
        "privileges",
        PROBLEM,
        "root only in a user namespace (a rootless container)",
        "run as root of the host",
    )
    assert finding_of(tmp_path / "old", "privileges", {"proc/self/uid_map": None}).verdict is OK


@pytest.mark.parametrize(
    ("capabilities", "level", "verdict"),
    [
        ("000000c000000000", "3\n", WARNING),
        ("000000c000000000", "2\n", OK),
        ("000000c000000000", "-1\n", OK),
        ("000000c000200000", "3\n", OK),
    ],
)
def test_perf_event_paranoid_above_2_warns_without_cap_sys_admin(
    tmp_path: Path, capabilities: str, level: str, verdict: Verdict
) -> None:
    changes: Changes = {
        STATUS: f"CapEff:\t{capabilities}\n",
        "proc/sys/kernel/perf_event_paranoid": level,
    }
    finding = finding_of(tmp_path, "privileges", changes)
    assert finding.verdict is verdict
    assert ("kernel.perf_event_paranoid=3" in finding.what) is (verdict is WARNING)
    assert finding.fix.startswith("sysctl kernel.perf_event_paranoid=2") is (verdict is WARNING)


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({}, OK, "0: addresses are visible to root"),
        ({"proc/sys/kernel/kptr_restrict": "1\n"}, OK, "1: addresses are visible to root"),
        (
            {"proc/sys/kernel/kptr_restrict": None},
            UNKNOWN,
            "kernel.kptr_restrict can't be read",
        ),
        (
            {KALLSYMS: kallsyms(*SYMBOLS_6_1[1:])},
            WARNING,
            "the switch has no symbol, so the reason of skipped pages is unknown",
        ),
    ],
)
def test_the_verdict_on_kptr_restrict(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str
) -> None:
    finding = finding_of(tmp_path, "kptr_restrict", changes)
    fix = "use a kernel with CONFIG_KALLSYMS_ALL" if verdict is WARNING else ""
    assert finding == Finding("kptr_restrict", verdict, what, fix)


@pytest.mark.parametrize(
    ("step", "symbol"),
    [
        ("optimize", "free_huge_page_vmemmap"),
        ("remap_range", "vmemmap_remap_free"),
        ("remap_pte", "vmemmap_remap_pte"),
        ("restore", "alloc_huge_page_vmemmap"),
        ("restore_pte", "vmemmap_restore_pte"),
    ],
)
def test_each_step_reports_its_symbol(tmp_path: Path, step: str, symbol: str) -> None:
    assert finding_of(tmp_path, step, OLD) == Finding(step, OK, symbol)


def test_a_step_without_function_is_a_problem(tmp_path: Path) -> None:
    symbols = kallsyms(*(name for name in SYMBOLS_6_1 if name != "vmemmap_remap_pte"))
    assert finding_of(tmp_path, "remap_pte", {KALLSYMS: symbols}) == Finding(
        "remap_pte",
        PROBLEM,
        "the kernel has none of: vmemmap_remap_pte",
        "report this kernel to hvoscope: add its functions to probes/kernel/hooks.py",
    )


def test_functions_of_one_step_are_listed(tmp_path: Path) -> None:
    one, caller = "__hugetlb_vmemmap_optimize_folio", "hugetlb_vmemmap_optimize_folio"
    split = (one, caller, f"{one}.part.0")
    finding = finding_of(tmp_path, "optimize", {KALLSYMS: kallsyms(*split)})
    assert finding == Finding("optimize", OK, ", ".join(split))


def test_a_function_of_another_prototype_is_not_hooked(tmp_path: Path) -> None:
    blob = Blob()
    blob.struct("page", 64)
    blob.integer("long")
    blob.function("vmemmap_remap_pte", ["long", "long"], returns="")
    finding = finding_of(tmp_path, "remap_pte", {BTF: blob.bytes()})
    assert finding.verdict is PROBLEM
    assert finding.what.startswith("vmemmap_remap_pte")


def test_a_rewritten_batch_function_is_only_a_warning(tmp_path: Path) -> None:
    rewritten = "hugetlb_vmemmap_optimize_folios.isra.0"
    finding = finding_of(tmp_path, "batch", {KALLSYMS: kallsyms(*SYMBOLS_6_1, rewritten)})
    assert finding.verdict is WARNING
    assert rewritten in finding.what
    assert finding.fix.endswith("probes/kernel/hooks.py")


def test_an_inaccessible_folder_is_unknown(tmp_path: Path) -> None:
    host = machine(tmp_path, {})
    name = "x" * 300  # too long for any file system, so stat fails with another error
    findings = examine(type(host)(host.proc, tmp_path / name, host.modules, RELEASE, "x86_64"))
    verdicts = {finding.name: finding.verdict for finding in findings}
    assert verdicts["kprobes"] is UNKNOWN
    assert verdicts["lockdown"] is verdicts["pools"] is UNKNOWN
