# SPDX-License-Identifier: Apache-2.0
"""Trial loads, and their consequences for the checks of kprobes and privileges."""

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes.kernel.btf import Btf
from probes.preflight import Finding, Verdict, at_start, examine, is_ready, problems
from probes.preflight.facts import Facts
from probes.preflight.trial import Trial, can_load, load
from tests.probes.kernel.test_btf import Blob
from tests.probes.preflight_host import (
    BTF,
    CONFIG,
    KALLSYMS,
    KPROBE_PMU,
    SYMBOLS_6_1,
    Changes,
    config,
    kallsyms,
    machine,
)

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
ENABLED = "sys/kernel/debug/kprobes/enabled"
STATUS = "proc/self/status"
FUNCTIONS = SYMBOLS_6_1[1:]  # the first is the switch
DIRECT_CALLS = "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y\n"
REPOSITORY = Path(__file__).parents[3]


PROTOTYPES: Mapping[str, tuple[list[str], str]] = {
    "hugetlb_vmemmap_optimize": (["*hstate", "*page"], ""),
    "vmemmap_remap_range": (["long", "long", "*vmemmap_remap_walk"], "long"),
    "vmemmap_remap_pte": (["*pte", "long", "*vmemmap_remap_walk"], ""),
    "hugetlb_vmemmap_restore": (["*hstate", "*page"], "long"),
    "vmemmap_restore_pte": (["*pte", "long", "*vmemmap_remap_walk"], ""),
}


def described(*functions: str) -> bytes:
    """Return BTF of struct page and of these functions of Linux 6.1."""
    blob = Blob()
    blob.struct("page", 64)
    blob.integer("long")
    for name in ("hstate", "page", "pte", "vmemmap_remap_walk"):
        blob.pointer_to_struct(name, typedef=name == "pte")
    for name in functions:
        parameters, returns = PROTOTYPES[name]
        blob.function(name, parameters, returns=returns)
    return blob.bytes()


FENTRY: Changes = {
    KALLSYMS: kallsyms(*SYMBOLS_6_1, "bpf_trampoline_link_prog"),
    BTF: described(*FUNCTIONS),
    CONFIG: config() + DIRECT_CALLS,
}
NO_KPROBES: Changes = {
    **FENTRY,
    KPROBE_PMU: None,
    ENABLED: None,
    CONFIG: config("KPROBES", "KPROBE_EVENTS") + DIRECT_CALLS,
}


def refusing(fentry: int = 0, kprobe: int = 0) -> Trial:
    """Return a trial that fails with these error numbers; 0 means success."""

    def answer(function: int | None) -> None:
        number = kprobe if function is None else fentry
        if number:
            raise OSError(number, os.strerror(number))

    return answer


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def finding_of(root: Path, name: str, changes: Changes, trial_load: Trial | None = None) -> Finding:
    found = examine(machine(root, changes), root / "dist", environ={}, try_load=trial_load)
    return next(finding for finding in found if finding.name == name)


def test_a_kernel_without_kprobes_is_ready_with_fentry(tmp_path: Path) -> None:
    findings = examine(machine(tmp_path, NO_KPROBES), tmp_path / "dist", environ={})
    assert is_ready(findings)
    assert {finding.verdict for finding in findings} == {OK}
    kprobes = next(finding for finding in findings if finding.name == "kprobes")
    assert kprobes.what == "not in this kernel; fentry does not need them"
    assert problems(at_start(Facts(machine(tmp_path, NO_KPROBES), tmp_path / "dist"))) == []


@pytest.mark.parametrize(
    "lacking",
    [
        {KALLSYMS: kallsyms(*SYMBOLS_6_1)},  # no trampolines
        {BTF: described(*FUNCTIONS[1:])},  # one function that BTF does not describe
        {CONFIG: config("KPROBES", "KPROBE_EVENTS")},  # no direct calls
    ],
)
def test_a_kernel_without_kprobes_and_fentry_is_a_problem(tmp_path: Path, lacking: Changes) -> None:
    found = finding_of(tmp_path, "kprobes", {**NO_KPROBES, **lacking})
    assert (found.verdict, found.what) == (PROBLEM, "this kernel has no kprobes")


def test_fentry_is_assumed_without_a_config(tmp_path: Path) -> None:
    assert finding_of(tmp_path, "kprobes", {**NO_KPROBES, CONFIG: None}).verdict is OK


def test_fentry_is_used_only_on_x86_64(tmp_path: Path) -> None:
    host = machine(tmp_path, NO_KPROBES, "riscv64")
    found = examine(host, tmp_path / "dist", environ={})
    assert next(f for f in found if f.name == "kprobes").verdict is PROBLEM


def test_fentry_without_bpf_events_is_a_problem(tmp_path: Path) -> None:
    text = config("KPROBES", "KPROBE_EVENTS", "BPF_EVENTS") + DIRECT_CALLS
    found = finding_of(tmp_path, "config", {**NO_KPROBES, CONFIG: text})
    assert (found.verdict, found.fix) == (PROBLEM, "use a kernel with CONFIG_BPF_EVENTS")


def test_switched_off_kprobes_are_ok_with_fentry(tmp_path: Path) -> None:
    found = finding_of(tmp_path, "kprobes", {**FENTRY, ENABLED: "0\n"})
    assert (found.verdict, found.what) == (OK, "switched off; fentry does not need them")


def test_fentry_needs_ftrace_enabled(tmp_path: Path) -> None:
    found = finding_of(tmp_path, "kprobes", {**NO_KPROBES, "proc/sys/kernel/ftrace_enabled": "0\n"})
    assert (found.verdict, found.fix) == (PROBLEM, "sysctl kernel.ftrace_enabled=1")


@pytest.mark.parametrize(
    ("changes", "kernel", "verdict", "what"),
    [
        ({}, refusing(), OK, "the kernel loads kprobe programs"),
        (
            {},
            refusing(kprobe=errno.EPERM),
            PROBLEM,
            "the kernel refuses a BPF program of two instructions (kprobe programs: Operation not "
            "permitted)",
        ),
        (
            FENTRY,
            refusing(),
            OK,
            "the kernel loads fentry programs; the kernel loads kprobe programs",
        ),
        (
            FENTRY,
            refusing(fentry=errno.EPERM),
            OK,
            "the kernel refuses fentry programs (Operation not permitted); the kernel loads kprobe "
            "programs",
        ),
        (
            FENTRY,
            refusing(errno.EPERM, errno.EINVAL),
            PROBLEM,
            "the kernel refuses a BPF program of two instructions (fentry programs: Operation not "
            "permitted, kprobe programs: Invalid argument)",
        ),
        (
            NO_KPROBES,  # a loadable kprobe program is useless without kprobes
            refusing(fentry=errno.EPERM),
            PROBLEM,
            "the kernel refuses a BPF program of two instructions (fentry programs: Operation not "
            "permitted)",
        ),
        ({STATUS: None}, refusing(), OK, "the kernel loads kprobe programs"),
        (
            {STATUS: "CapEff:\t0000000000000000\n"},
            refusing(kprobe=errno.EPERM),
            PROBLEM,
            "no privilege to attach probes",
        ),
        (
            {STATUS: "CapEff:\t000000c000000000\n", "proc/sys/kernel/perf_event_paranoid": "3\n"},
            refusing(),
            WARNING,
            "kernel.perf_event_paranoid=3 may require more than CAP_PERFMON",
        ),
        (
            {
                **NO_KPROBES,
                STATUS: "CapEff:\t000000c000000000\n",
                "proc/sys/kernel/perf_event_paranoid": "3\n",  # does not affect fentry
            },
            refusing(),
            OK,
            "the kernel loads fentry programs",
        ),
    ],
)
def test_the_verdict_on_privileges_from_trial_loads(
    tmp_path: Path, changes: Changes, kernel: Trial, verdict: Verdict, what: str
) -> None:
    found = finding_of(tmp_path, "privileges", changes, kernel)
    assert (found.verdict, found.what) == (verdict, what)
    assert bool(found.fix) is (verdict in (PROBLEM, WARNING))


def test_the_fix_of_refused_programs_is_whatever_forbids_them(tmp_path: Path) -> None:
    found = finding_of(tmp_path, "privileges", {}, refusing(kprobe=errno.EPERM))
    forbids = "seccomp filter, security module or sandbox that forbids bpf(2)"
    assert found.fix == f"run without the {forbids}"


@pytest.mark.parametrize(
    ("fentry", "kprobe", "by_a_kernel"),
    [
        (errno.ENOSYS, errno.ENOSYS, True),
        (errno.ENOSYS, errno.EPERM, False),
        (errno.EPERM, errno.ENOSYS, False),
    ],
)
def test_a_system_call_that_is_not_there_is_the_kernels_or_a_filters(
    tmp_path: Path, fentry: int, kprobe: int, by_a_kernel: bool
) -> None:
    found = finding_of(tmp_path, "privileges", FENTRY, refusing(fentry, kprobe))
    assert found.fix == (
        "use a kernel with CONFIG_BPF_SYSCALL, or run without the seccomp filter that answers for "
        "bpf(2)"
        if by_a_kernel
        else "run without the seccomp filter, security module or sandbox that forbids bpf(2)"
    )


def test_the_fentry_trial_uses_a_function_to_hook(tmp_path: Path) -> None:
    functions: list[int | None] = []
    finding_of(tmp_path, "privileges", FENTRY, functions.append)
    assert len(functions) == 2
    btf = Btf(described(*FUNCTIONS))
    assert functions[0] in {btf.function_id(name) for name in FUNCTIONS}
    assert functions[1] is None


@pytest.mark.parametrize("status", [None, "Name:\tx\n", "CapEff:\t\n", "CapEff:\tlots\n"])
def test_unreadable_capabilities_are_unknown(tmp_path: Path, status: str | None) -> None:
    assert finding_of(tmp_path, "privileges", {STATUS: status}) == Finding(
        "privileges",
        UNKNOWN,
        f"the capabilities of this process can't be read from {tmp_path}/proc/self/status",
    )


def test_no_trial_for_the_files_of_another_machine(tmp_path: Path) -> None:
    assert Facts(machine(tmp_path, {"proc/sys/kernel/random/boot_id": "x\n"})).trial is None
    ours = Path("/proc/sys/kernel/random/boot_id").read_text()
    host = machine(tmp_path, {"proc/sys/kernel/random/boot_id": ours}, os.uname().machine)
    assert Facts(host).trial is load


@pytest.mark.skipif(not can_load(os.uname().machine), reason="bpf(2)'s number is not known here")
def test_load_raises_the_errors_of_this_kernel_and_leaks_no_descriptor() -> None:
    """Without privileges, loading fails with EPERM; an unknown function fails in any case."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from probes.preflight.trial import load\n"
        "if os.getuid() == 0: os.setgroups([]); os.setuid(65534)\n"
        "try: load(None)\n"
        "except OSError as error: print(error.errno)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(REPOSITORY)], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) in (errno.EPERM, errno.ENOSYS)
    before = descriptors()
    for function in (None, 2**31 - 1):
        try:
            load(function)
        except OSError as error:
            assert error.errno in (errno.EPERM, errno.EINVAL, errno.ENOENT, errno.ENOSYS)
            assert error.strerror == os.strerror(error.errno)
        else:
            assert function is None
    assert descriptors() == before
