# SPDX-License-Identifier: Apache-2.0
"""Checks on the kernel as it was built."""

from collections.abc import Collection

from probes.preflight.facts import Facts
from probes.preflight.finding import Finding, Verdict

_HAS_HVO = {
    "x86_64": "x86-64: Linux has HVO here since 5.14",
    "riscv64": "riscv: Linux has HVO here since 6.3",  # commit a3c7d6b642e4
    "loongarch64": "loongarch: Linux has HVO here",
}
_HVO_TAKEN_OUT = {
    # On from 5.19 (commit 1e63ac088f20); off from 6.3 and in older stable kernels (060a2c92d1b6):
    # changing the output address of a live PTE without break-before-make is unpredictable there.
    "aarch64": "arm64: Linux has HVO off since 6.3, as a live PTE can't be given another frame",
    # On by commit 00a34d5a99c0; off since October 2025 and in stable kernels ("s390: Disable
    # ARCH_WANT_OPTIMIZE_HUGETLB_VMEMMAP"): a valid PTE must not be replaced by another.
    "s390x": "s390: Linux has HVO off since 2025, as a valid PTE can't be replaced by another",
}

_WANTED = (
    # Renamed in Linux 5.19, commit 47010c040dec: either name will do.
    ("CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP", "CONFIG_HUGETLB_PAGE_FREE_VMEMMAP"),
    ("CONFIG_KPROBES",),
    ("CONFIG_KPROBE_EVENTS",),
    ("CONFIG_BPF_SYSCALL",),
    ("CONFIG_BPF_EVENTS",),
    ("CONFIG_DEBUG_INFO_BTF",),
)
_SHOWN_NOWHERE_ELSE = frozenset({"CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS"})
"""The others show in a running kernel, and checks of their own look there."""


def architecture(facts: Facts) -> Finding:
    """Whether Linux has HVO on this kind of machine, or why not."""
    machine = facts.host.machine
    if machine in _HAS_HVO:
        return Finding("architecture", Verdict.OK, _HAS_HVO[machine])
    what = _HVO_TAKEN_OUT.get(machine, f"{machine}: Linux never had HVO here")
    if facts.has_hvo:
        fix = "update the kernel, and leave HVO off until then"
        return Finding("architecture", Verdict.WARNING, f"{what}; this kernel still has it", fix)
    fix = "use an x86-64 machine, or try hvoscope here with `hvoscope serve --backend sim`"
    return Finding("architecture", Verdict.PROBLEM, what, fix)


def config(facts: Facts) -> Finding:
    """The options that hvoscope rests on."""
    if facts.config is None:
        host = facts.host
        what = f"not found in {host.proc}/config.gz, {host.boot} or {host.modules}"
        return Finding("config", Verdict.UNKNOWN, what)
    path, options = facts.config
    lacking = [names[0] for names in _WANTED if not _has_any(options, names)]
    if not lacking:
        return Finding("config", Verdict.OK, f"{path} has all that is needed")
    what = f"{path} lacks {', '.join(lacking)}"
    if fatal := [name for name in lacking if name in _SHOWN_NOWHERE_ELSE]:
        return Finding("config", Verdict.PROBLEM, what, f"use a kernel with {' and '.join(fatal)}")
    return Finding("config", Verdict.WARNING, what)


def hvo(facts: Facts) -> Finding | None:
    """Whether HVO is compiled in; None where the architecture has already said why it is not."""
    if isinstance(facts.symbols, OSError):
        error = facts.symbols
        return Finding(
            "hvo",
            Verdict.PROBLEM,
            f"{error.filename} can't be read ({error.strerror})",
            "the kernel needs CONFIG_KALLSYMS",
        )
    if facts.has_hvo:
        return Finding("hvo", Verdict.OK, f"compiled into {facts.host.release}")
    if facts.host.machine not in _HAS_HVO:
        return None
    return Finding(
        "hvo",
        Verdict.PROBLEM,
        "this kernel has no HugeTLB vmemmap optimisation that hvoscope knows",
        "use Linux 5.14 or later with CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP on x86-64",
    )


def _has_any(options: Collection[str], names: Collection[str]) -> bool:
    return any(name in options for name in names)
