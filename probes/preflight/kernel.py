# SPDX-License-Identifier: Apache-2.0
"""Checks on the kernel as it was built."""

import errno
from collections.abc import Collection

from probes.kernel.hooks import has_hvo
from probes.kernel.host import is_missing
from probes.preflight.facts import Facts
from probes.preflight.finding import Finding, Verdict

_OPTION = "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP"

_HAS_HVO = {
    "x86_64": "x86-64: Linux has HVO here since 5.14",
    "riscv64": "riscv: Linux has HVO here since 6.4",
    "loongarch64": "loongarch: Linux has HVO here",
}
_HOW_TO_HAVE_IT = {
    "x86_64": f"use Linux 5.14 or later with {_OPTION} on x86-64",
    "riscv64": f"use Linux 6.4 or later with {_OPTION}",
}
_TAKEN_OUT = {
    # On from 5.19 (commit 1e63ac088f20); off from 6.3 and in older stable kernels (060a2c92d1b6):
    # changing the output address of a live PTE without break-before-make is unpredictable there.
    "aarch64": "arm64: Linux took HVO out in 6.3, as a live PTE must not be given another frame",
    # On by commit 00a34d5a99c0; off since October 2025 and in stable kernels ("s390: Disable
    # ARCH_WANT_OPTIMIZE_HUGETLB_VMEMMAP"): a valid PTE must not be replaced by another.
    "s390x": "s390: Linux took HVO out in 2025, as a valid PTE must not be replaced by another",
}

_WANTED = (
    # Renamed in Linux 5.19, commit 47010c040dec: either name will do.
    (_OPTION, "CONFIG_HUGETLB_PAGE_FREE_VMEMMAP"),
    ("CONFIG_KPROBES",),
    ("CONFIG_KPROBE_EVENTS",),
    ("CONFIG_BPF_SYSCALL",),
    ("CONFIG_BPF_EVENTS",),
    ("CONFIG_DEBUG_INFO_BTF",),
)
_OF_KPROBES = frozenset({"CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"})
_SHOWN_NOWHERE_ELSE = frozenset({"CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS"})
"""The others show in a running kernel, and checks of their own look there."""

_BY_SYSTEMD = "(ProtectKernelTunables?)"
_UNHIDE = "set ProtectKernelTunables=no in the unit, or run hvoscope outside of that sandbox"

_IN_ANY_PROCFS = ("self", "cmdline", "sys", "vmstat")


def architecture(facts: Facts) -> Finding:
    """Whether HVO can be had on this kind of machine. What this kernel has decides first."""
    machine = facts.host.machine
    if machine in _HAS_HVO:
        return Finding("architecture", Verdict.OK, _HAS_HVO[machine])
    if facts.has_hvo or _has_option(facts):
        return _against_the_rule(facts)
    what = _TAKEN_OUT.get(machine, f"{machine}: Linux never had HVO here")
    if isinstance(facts.symbols, OSError) and facts.config is None:
        what += "; whether this kernel has it can't be told"
        return Finding("architecture", Verdict.UNKNOWN, what)
    fix = "use an x86-64 machine, or try hvoscope here with `hvoscope serve --backend sim`"
    return Finding("architecture", Verdict.PROBLEM, f"{what}; this kernel has none", fix)


def _against_the_rule(facts: Facts) -> Finding:
    """This kernel has HVO where Linux had none: one of those that were unsafe, or a newer one."""
    machine = facts.host.machine
    unsafe = facts.gives_live_ptes_frames
    if unsafe is False:
        return Finding("architecture", Verdict.OK, f"{machine}: this kernel has HVO")
    what = f"{_TAKEN_OUT[machine]}; this kernel still has it"
    if unsafe is None:
        what = f"{_TAKEN_OUT[machine]}; which HVO this kernel has can't be told"
        return Finding("architecture", Verdict.UNKNOWN, what)
    fix = "update the kernel, and leave HVO off until then"
    return Finding("architecture", Verdict.WARNING, what, fix)


def config(facts: Facts) -> Finding:
    """The options that hvoscope rests on."""
    if facts.config is None:
        host = facts.host
        what = f"not found in {host.proc}/config.gz, {host.boot} or {host.modules}"
        unreadable = "; ".join(facts.unreadable_configs)
        return Finding("config", Verdict.UNKNOWN, unreadable or what)
    path, options = facts.config
    lacking = [names[0] for names in _WANTED if not _has_any(options, names)]
    if facts.does_without_kprobes:
        lacking = [name for name in lacking if name not in _OF_KPROBES]
    if not lacking:
        return Finding("config", Verdict.OK, f"{path} has all that is needed")
    what = f"{path} lacks {', '.join(lacking)}"
    if fatal := [name for name in lacking if name in _SHOWN_NOWHERE_ELSE]:
        return Finding("config", Verdict.PROBLEM, what, f"use a kernel with {' and '.join(fatal)}")
    return Finding("config", Verdict.WARNING, what)


def hvo(facts: Facts) -> Finding | None:
    """Whether HVO is compiled in; None where the architecture has already said why it is not."""
    if isinstance(facts.symbols, OSError):
        return _hidden(facts, facts.symbols)
    if has_hvo(facts.symbols):
        return Finding("hvo", Verdict.OK, f"compiled into {facts.host.release}")
    if facts.has_hvo:
        return Finding(
            "hvo",
            Verdict.PROBLEM,
            f"this kernel has HVO ({facts.sysctl_path}), under function names unknown to hvoscope",
            "report this kernel to hvoscope: its functions belong in probes/kernel/hooks.py",
        )
    if facts.host.machine not in _HAS_HVO:
        return None
    return Finding(
        "hvo",
        Verdict.PROBLEM,
        "this kernel has no HugeTLB vmemmap optimisation that hvoscope knows",
        _HOW_TO_HAVE_IT.get(facts.host.machine, f"use a kernel with {_OPTION}"),
    )


def _hidden(facts: Facts, error: OSError) -> Finding:
    """The symbol table can't be read: why, and what says whether the kernel has HVO all the same.

    ``kernel.kptr_restrict`` hides addresses only, never names.
    """
    path, fix = error.filename, "the kernel needs CONFIG_KALLSYMS"
    if error.errno == errno.ENODATA:
        what = f"the symbol table {path} is empty: hidden from this process {_BY_SYSTEMD}"
        fix = _UNHIDE
    elif not is_missing(error):
        what = f"{path} can't be read ({error.strerror}): hidden from this process {_BY_SYSTEMD}"
        fix = _UNHIDE
    elif not any((facts.host.proc / name).exists() for name in _IN_ANY_PROCFS):
        what = f"no procfs is mounted on {facts.host.proc}"
        fix = "mount -t proc proc /proc, or say where it is with --path.procfs"
    else:
        what = f"{path} can't be read ({error.strerror})"
    return Finding("hvo", Verdict.PROBLEM, f"{_proof(facts)}{what}", fix)


def _proof(facts: Facts) -> str:
    """What says without a symbol table that the kernel has HVO; empty where nothing does."""
    if facts.shows_switch:
        return f"HVO is there ({facts.sysctl_path}), but "
    if facts.config and _has_option(facts):
        return f"HVO is compiled in ({facts.config.path}), but "
    return ""


def _has_option(facts: Facts) -> bool:
    return facts.config is not None and _has_any(facts.config.options, _WANTED[0])


def _has_any(options: Collection[str], names: Collection[str]) -> bool:
    return any(name in options for name in names)
