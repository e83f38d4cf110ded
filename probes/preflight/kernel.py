# SPDX-License-Identifier: Apache-2.0
"""Checks of the kernel build: architecture, configuration, HVO."""

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
_FIXES = {
    "x86_64": f"use Linux 5.14 or later with {_OPTION} on x86-64",
    "riscv64": f"use Linux 6.4 or later with {_OPTION}",
}
_REMOVED = {
    # Enabled in 5.19 (commit 1e63ac088f20); disabled in 6.3 and in older stable kernels
    # (060a2c92d1b6): changing the output address of a live PTE without break-before-make is
    # unpredictable on arm64.
    "aarch64": "arm64: Linux removed HVO in 6.3, because a live PTE must not change its frame",
    # Enabled by commit 00a34d5a99c0; disabled since October 2025 and in stable kernels ("s390:
    # Disable ARCH_WANT_OPTIMIZE_HUGETLB_VMEMMAP"): a valid PTE must not be replaced by another.
    "s390x": "s390: Linux removed HVO in 2025, because a valid PTE must not be replaced by another",
}

_WANTED = (
    # Renamed in Linux 5.19, commit 47010c040dec; both names are accepted.
    (_OPTION, "CONFIG_HUGETLB_PAGE_FREE_VMEMMAP"),
    ("CONFIG_KPROBES",),
    ("CONFIG_KPROBE_EVENTS",),
    ("CONFIG_BPF_SYSCALL",),
    ("CONFIG_BPF_EVENTS",),
    ("CONFIG_DEBUG_INFO_BTF",),
)
_KPROBE_OPTIONS = frozenset({"CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"})
_CONFIG_ONLY = frozenset({"CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS"})
"""Options that only the config shows; other checks detect the rest in the running kernel."""

_BY_SYSTEMD = "(ProtectKernelTunables?)"
_SANDBOX_FIX = "set ProtectKernelTunables=no in the unit, or run hvoscope outside of that sandbox"

_IN_ANY_PROCFS = ("self", "cmdline", "sys", "vmstat")


def architecture(facts: Facts) -> Finding:
    """Whether Linux has HVO on this architecture, or at least this kernel has it."""
    machine = facts.host.machine
    if machine in _HAS_HVO:
        return Finding("architecture", Verdict.OK, _HAS_HVO[machine])
    if facts.has_hvo or _has_option(facts):
        return _unexpected_hvo(facts)
    what = _REMOVED.get(machine, f"{machine}: Linux never had HVO here")
    if isinstance(facts.symbols, OSError) and facts.config is None:
        what += "; whether this kernel has it is unknown"
        return Finding("architecture", Verdict.UNKNOWN, what)
    fix = "use an x86-64 machine, or try hvoscope here with `hvoscope serve --backend sim`"
    return Finding("architecture", Verdict.PROBLEM, f"{what}; this kernel does not have it", fix)


def _unexpected_hvo(facts: Facts) -> Finding:
    """Finding for a kernel with HVO on an architecture without: an unsafe one, or a newer one."""
    machine = facts.host.machine
    unsafe = facts.remaps_live_ptes_unsafely
    if unsafe is False:
        return Finding("architecture", Verdict.OK, f"{machine}: this kernel has HVO")
    what = f"{_REMOVED[machine]}; this kernel still has it"
    if unsafe is None:
        what = f"{_REMOVED[machine]}; which version of HVO this kernel has is unknown"
        return Finding("architecture", Verdict.UNKNOWN, what)
    fix = "update the kernel, and keep HVO off until then"
    return Finding("architecture", Verdict.WARNING, what, fix)


def config(facts: Facts) -> Finding:
    """Whether the kernel config has the options that hvoscope needs."""
    if facts.config is None:
        host = facts.host
        what = f"not found in {host.proc}/config.gz, {host.boot} or {host.modules}"
        unreadable = "; ".join(facts.unreadable_configs)
        return Finding("config", Verdict.UNKNOWN, unreadable or what)
    path, options = facts.config
    lacking = [names[0] for names in _WANTED if not _has_any(options, names)]
    if facts.fentry_suffices:
        lacking = [name for name in lacking if name not in _KPROBE_OPTIONS]
    if not lacking:
        return Finding("config", Verdict.OK, f"{path} has all needed options")
    what = f"{path} lacks {', '.join(lacking)}"
    if fatal := [name for name in lacking if name in _CONFIG_ONLY]:
        return Finding("config", Verdict.PROBLEM, what, f"use a kernel with {' and '.join(fatal)}")
    return Finding("config", Verdict.WARNING, what)


def hvo(facts: Facts) -> Finding | None:
    """Whether HVO is compiled in; None if the architecture check already reports why it is not."""
    if isinstance(facts.symbols, OSError):
        return _symbols_unreadable(facts, facts.symbols)
    if has_hvo(facts.symbols):
        return Finding("hvo", Verdict.OK, f"compiled into {facts.host.release}")
    if facts.has_hvo:
        return Finding(
            "hvo",
            Verdict.PROBLEM,
            f"this kernel has HVO ({facts.sysctl_path}), but hvoscope does not know its functions",
            "report this kernel to hvoscope: add its functions to probes/kernel/hooks.py",
        )
    if facts.host.machine not in _HAS_HVO:
        return None
    return Finding(
        "hvo",
        Verdict.PROBLEM,
        "this kernel has no HugeTLB vmemmap optimization that hvoscope knows",
        _FIXES.get(facts.host.machine, f"use a kernel with {_OPTION}"),
    )


def _symbols_unreadable(facts: Facts, error: OSError) -> Finding:
    """Finding for an unreadable symbol table, with other evidence of HVO.

    ``kernel.kptr_restrict`` is never the cause: it hides addresses, not names.
    """
    path, fix = error.filename, "the kernel needs CONFIG_KALLSYMS"
    if error.errno == errno.ENODATA:
        what = f"the symbol table {path} is empty: hidden from this process {_BY_SYSTEMD}"
        fix = _SANDBOX_FIX
    elif not is_missing(error):
        what = f"{path} can't be read ({error.strerror}): hidden from this process {_BY_SYSTEMD}"
        fix = _SANDBOX_FIX
    elif not any((facts.host.proc / name).exists() for name in _IN_ANY_PROCFS):
        what = f"no procfs is mounted on {facts.host.proc}"
        fix = "mount -t proc proc /proc, or set its path with --path.procfs"
    else:
        what = f"{path} can't be read ({error.strerror})"
    return Finding("hvo", Verdict.PROBLEM, f"{_evidence(facts)}{what}", fix)


def _evidence(facts: Facts) -> str:
    """Evidence of HVO without a symbol table; empty if there is none."""
    if facts.has_sysctl_file:
        return f"this kernel has HVO ({facts.sysctl_path}), but "
    if facts.config and _has_option(facts):
        return f"HVO is compiled in ({facts.config.path}), but "
    return ""


def _has_option(facts: Facts) -> bool:
    return facts.config is not None and _has_any(facts.config.options, _WANTED[0])


def _has_any(options: Collection[str], names: Collection[str]) -> bool:
    return any(name in options for name in names)
