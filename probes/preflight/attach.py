# SPDX-License-Identifier: Apache-2.0
"""Checks of the requirements for attaching probes: kernel features, tools and privileges."""

import re
from collections.abc import Iterator, Mapping
from errno import ENOSYS

from probes.bpf.bcc_import import bcc_version, find_bcc
from probes.kernel.btf import Btf
from probes.kernel.distribution import install_bcc, install_headers
from probes.kernel.hooks import SWITCHES, select_hooks
from probes.kernel.host import is_missing, read_or_error, read_text
from probes.preflight.facts import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Facts
from probes.preflight.finding import Finding, Verdict
from probes.preflight.headers import headers

_FENTRY, _KPROBE = "fentry programs", "kprobe programs"

_NO_PRIVILEGE = Finding(
    "privileges", Verdict.PROBLEM, "no privilege to attach probes", "run as root"
)

_WITHOUT_THE_FILTER = (
    "run without the seccomp filter, security module or sandbox that forbids bpf(2)"
)
_NO_BPF = (
    "use a kernel with CONFIG_BPF_SYSCALL, or run without the seccomp filter that answers for "
    "bpf(2)"
)

_BCC_WITH_RING_BUFFERS = (0, 16)
"""First release with bcc pull requests 2969 and 2989 (summer of 2020)."""


def lockdown(facts: Facts) -> Finding:
    """Whether kernel lockdown allows kprobes."""
    text = read_or_error(facts.host.sys / "kernel/security/lockdown")
    if isinstance(text, OSError):
        lsm = read_or_error(facts.host.sys / "kernel/security/lsm")
        if is_missing(text) and not is_missing(lsm):  # securityfs is mounted, but has no lockdown
            return Finding("lockdown", Verdict.OK, "not in this kernel")
        if facts.config and "CONFIG_SECURITY_LOCKDOWN_LSM" not in facts.config.options:
            return Finding("lockdown", Verdict.OK, "not in this kernel")
        what = f"{facts.host.sys}/kernel/security/lockdown can't be read"
        return Finding("lockdown", Verdict.UNKNOWN, what)
    chosen = re.search(r"\[(\w+)\]", text)
    mode = chosen[1] if chosen else text
    # LOCKDOWN_KPROBES and LOCKDOWN_BPF_READ_KERNEL are above LOCKDOWN_INTEGRITY_MAX
    # (include/linux/security.h), so integrity mode allows both.
    if mode != "confidentiality":
        return Finding("lockdown", Verdict.OK, mode)
    return Finding(
        "lockdown",
        Verdict.PROBLEM,
        "kernel lockdown (confidentiality) forbids kprobes",
        "boot with lockdown=integrity",
    )


def kprobes(facts: Facts) -> Finding:
    """Whether kernel functions can be probed, by kprobes or by fentry."""
    host = facts.host
    # Without this PMU (Linux 4.17) BCC would use tracefs, whose probes remain after a crash.
    pmu = read_or_error(host.sys / "bus/event_source/devices/kprobe/type")
    if isinstance(pmu, OSError) and not is_missing(pmu):
        what = f"{pmu.filename} can't be read ({pmu.strerror})"
        return Finding("kprobes", Verdict.UNKNOWN, what)
    if isinstance(pmu, OSError) and not facts.fentry_suffices:
        fix = "use a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS"
        return Finding("kprobes", Verdict.PROBLEM, "this kernel has no kprobes", fix)
    # Kprobes at a function's entry and fentry use ftrace: while it is off they attach, but are
    # never hit (Documentation/trace/ftrace.rst, ftrace_enabled).
    if read_text(host.proc / "sys/kernel/ftrace_enabled") == "0":
        what = "ftrace is switched off, so probes would never be hit"
        return Finding("kprobes", Verdict.PROBLEM, what, "sysctl kernel.ftrace_enabled=1")
    if isinstance(pmu, OSError):
        return Finding("kprobes", Verdict.OK, "not in this kernel; fentry does not need them")
    return _kprobes_enabled(facts)


def _kprobes_enabled(facts: Facts) -> Finding:
    enabled = facts.host.sys / "kernel/debug/kprobes/enabled"
    state = read_text(enabled)
    if state == "0" and facts.fentry_suffices:
        return Finding("kprobes", Verdict.OK, "switched off; fentry does not need them")
    if state == "0":
        what = "kprobes are switched off, so probes would never be hit"
        return Finding("kprobes", Verdict.PROBLEM, what, f"echo 1 > {enabled}")
    what = "enabled" if state else f"compiled in; {enabled} can't be read"
    return Finding("kprobes", Verdict.OK, what)


def btf(facts: Facts) -> Finding:
    """Whether the kernel has BTF; kernel headers replace it in part."""
    path = facts.host.sys / "kernel/btf/vmlinux"
    if isinstance(facts.btf, Btf):
        return Finding("btf", Verdict.OK, str(path))
    reason = facts.btf.strerror if isinstance(facts.btf, OSError) else facts.btf
    what = f"{path} can't be read ({reason})"
    if headers(facts).verdict is Verdict.PROBLEM:
        install = install_headers(facts.host.release, facts.host.os_release)
        fix = f"use a kernel with CONFIG_DEBUG_INFO_BTF, or {install}"
        return Finding("btf", Verdict.PROBLEM, what, fix)
    what += ": offsets are taken from the kernel headers, so only kprobes and full mode work"
    return Finding("btf", Verdict.WARNING, what, "use a kernel with CONFIG_DEBUG_INFO_BTF")


def bcc(facts: Facts) -> Finding:
    """Whether BCC is installed, and its version; not imported, because that would load LLVM."""
    install = f"{install_bcc(facts.host.os_release)}; never from pip"
    if not find_bcc(facts.distro_packages):
        if facts.has_shipped_programs:
            what = f"BCC is not installed: only programs of {facts.programs} can be attached"
            return Finding("bcc", Verdict.WARNING, what, install)
        return Finding("bcc", Verdict.PROBLEM, "BCC is not installed", install)
    version = bcc_version(facts.distro_packages)
    if not version:
        return Finding("bcc", Verdict.UNKNOWN, "installed, but its version can't be read")
    if tuple(map(int, version.split(".")[:2])) < _BCC_WITH_RING_BUFFERS:
        what = f"BCC {version} does not support ring buffers, so `hvoscope trace` does not work"
        return Finding("bcc", Verdict.WARNING, what, "update BCC to 0.16 or later")
    return Finding("bcc", Verdict.OK, f"version {version}")


def privileges(facts: Facts) -> Finding:
    """Whether this process may attach probes; nothing later needs privileges.

    Loads trial programs if possible; otherwise the capabilities decide.
    """
    host, has = facts.host, facts.capabilities
    if _is_mapped(read_text(host.proc / "self/uid_map") or ""):
        what = "root only in a user namespace (a rootless container)"
        return Finding("privileges", Verdict.PROBLEM, what, "run as root of the host")
    errors = _trials(facts)
    if not_granted := _all_rejected(facts, errors) if errors else _capabilities_missing(facts):
        return not_granted
    is_admin = has is not None and CAP_SYS_ADMIN in has
    granted = Finding("privileges", Verdict.OK, _granted(errors, is_admin=is_admin))
    if is_admin or (_FENTRY in errors and not errors[_FENTRY]):
        return granted
    # Debian and Ubuntu add levels above 2, at which perf_event_open needs CAP_SYS_ADMIN; in the
    # mainline kernel CAP_PERFMON is enough.
    level = read_text(host.proc / "sys/kernel/perf_event_paranoid") or ""
    if level.isdecimal() and int(level) > 2:
        what = f"kernel.perf_event_paranoid={level} may require more than CAP_PERFMON"
        fix = "sysctl kernel.perf_event_paranoid=2 (or run as root)"
        return Finding("privileges", Verdict.WARNING, what, fix)
    return granted


def _granted(errors: Mapping[str, OSError | None], *, is_admin: bool) -> str:
    if not errors:
        return "CAP_SYS_ADMIN" if is_admin else "CAP_BPF and CAP_PERFMON"
    return "; ".join(
        f"the kernel refuses {kind} ({error.strerror})" if error else f"the kernel loads {kind}"
        for kind, error in errors.items()
    )


def _trials(facts: Facts) -> dict[str, OSError | None]:
    """Load a program of each type that can be attached here; None for success, or the error.

    Empty if nothing can be loaded from here.
    """
    if facts.trial is None:
        return {}
    wanted: dict[str, int | None] = {}
    if facts.fentry_functions:
        wanted[_FENTRY] = next(iter(facts.fentry_functions.values()))
    has_kprobes = not is_missing(
        read_or_error(facts.host.sys / "bus/event_source/devices/kprobe/type")
    )
    if has_kprobes or not wanted:
        wanted[_KPROBE] = None
    errors: dict[str, OSError | None] = {}
    for kind, function in wanted.items():
        try:
            facts.trial(function)
            errors[kind] = None
        except OSError as error:
            errors[kind] = error
    return errors


def _all_rejected(facts: Facts, errors: Mapping[str, OSError | None]) -> Finding | None:
    """Return None if the kernel loaded one type of program."""
    if not all(errors.values()):
        return None
    if facts.capabilities is not None and not _may_attach(facts):
        return _NO_PRIVILEGE
    refused = {kind: error for kind, error in errors.items() if error}
    reasons = ", ".join(f"{kind}: {error.strerror}" for kind, error in refused.items())
    not_implemented = {error.errno for error in refused.values()} == {ENOSYS}
    return Finding(
        "privileges",
        Verdict.PROBLEM,
        f"the kernel refuses a BPF program of two instructions ({reasons})",
        _NO_BPF if not_implemented else _WITHOUT_THE_FILTER,
    )


def _capabilities_missing(facts: Facts) -> Finding | None:
    """Return None if the capabilities are sufficient."""
    if facts.capabilities is None:
        what = f"the capabilities of this process can't be read from {facts.host.proc}/self/status"
        return Finding("privileges", Verdict.UNKNOWN, what)
    return None if _may_attach(facts) else _NO_PRIVILEGE


def _may_attach(facts: Facts) -> bool:
    has = facts.capabilities or frozenset()
    return CAP_SYS_ADMIN in has or {CAP_PERFMON, CAP_BPF} <= has


def addresses(facts: Facts) -> Finding | None:
    """Whether the address of HVO's switch is known, which is needed for the reasons of skips."""
    if not facts.known_symbols or not facts.has_hvo:
        return None
    level = read_text(facts.host.proc / "sys/kernel/kptr_restrict")
    if level is None:
        return Finding("kptr_restrict", Verdict.UNKNOWN, "kernel.kptr_restrict can't be read")
    if level == "2":
        return Finding(
            "kptr_restrict",
            Verdict.WARNING,
            "addresses are hidden, so the reason of skipped pages is unknown",
            "sysctl kernel.kptr_restrict=1",
        )
    if not any(name in facts.known_symbols for name in SWITCHES):
        what = "the switch has no symbol, so the reason of skipped pages is unknown"
        fix = "use a kernel with CONFIG_KALLSYMS_ALL"
        return Finding("kptr_restrict", Verdict.WARNING, what, fix)
    return Finding("kptr_restrict", Verdict.OK, f"{level}: addresses are visible to root")


def steps(facts: Facts) -> Iterator[Finding]:
    """The functions to hook for each step, or why none can be hooked."""
    if isinstance(facts.symbols, OSError) or not facts.has_hvo:
        return
    selected = select_hooks(facts.known_symbols, btf=facts.known_btf)
    if "restore" not in {step.step for step in selected}:
        what = "not in this kernel (patch v17 3/9 without 4/9): it never restores a page"
        yield Finding("restore", Verdict.OK, what)
    for step in selected:
        symbols = ", ".join(hook.symbol for hook in step.hooks)
        if symbols:
            yield Finding(step.step, Verdict.OK, symbols)
            continue
        fix = "report this kernel to hvoscope: add its functions to probes/kernel/hooks.py"
        verdict = Verdict.WARNING if step.step == "batch" else Verdict.PROBLEM
        yield Finding(step.step, verdict, step.reason, fix)


def _is_mapped(uid_map: str) -> bool:
    """Whether this is not the initial user namespace, which maps every id to itself."""
    return bool(uid_map) and uid_map.split() != ["0", "0", "4294967295"]
