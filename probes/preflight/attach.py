# SPDX-License-Identifier: Apache-2.0
"""Checks on attaching probes: the kernel's means, the tools, and the right to use them."""

import re
from collections.abc import Iterator, Mapping

from probes.bpf.bcc_import import bcc_version, find_bcc
from probes.kernel.btf import Btf
from probes.kernel.distribution import install_bcc
from probes.kernel.hooks import SWITCHES, make_plan
from probes.kernel.host import is_missing, read_or_error, read_text
from probes.preflight.facts import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Facts
from probes.preflight.finding import Finding, Verdict
from probes.preflight.headers import headers

_FENTRY, _KPROBE = "fentry programs", "kprobe programs"

_NO_PRIVILEGE = Finding(
    "privileges", Verdict.PROBLEM, "no privilege to attach probes", "run as root"
)

_BCC_WITH_RING_BUFFERS = (0, 16)
"""The release after bcc pull requests 2969 and 2989, in the summer of 2020."""


def lockdown(facts: Facts) -> Finding:
    """Whether the kernel keeps its memory secret even from root."""
    text = read_or_error(facts.host.sys / "kernel/security/lockdown")
    if isinstance(text, OSError):
        lsm = read_or_error(facts.host.sys / "kernel/security/lsm")
        if is_missing(text) and not is_missing(lsm):  # securityfs is there, lockdown not
            return Finding("lockdown", Verdict.OK, "not in this kernel")
        if facts.config and "CONFIG_SECURITY_LOCKDOWN_LSM" not in facts.config.options:
            return Finding("lockdown", Verdict.OK, "not in this kernel")
        what = f"{facts.host.sys}/kernel/security/lockdown can't be read"
        return Finding("lockdown", Verdict.UNKNOWN, what)
    chosen = re.search(r"\[(\w+)\]", text)
    mode = chosen[1] if chosen else text
    # LOCKDOWN_KPROBES and LOCKDOWN_BPF_READ_KERNEL are beyond LOCKDOWN_INTEGRITY_MAX
    # (include/linux/security.h): integrity lets both pass.
    if mode != "confidentiality":
        return Finding("lockdown", Verdict.OK, mode)
    return Finding(
        "lockdown",
        Verdict.PROBLEM,
        "kernel lockdown (confidentiality) forbids kprobes",
        "boot with lockdown=integrity",
    )


def kprobes(facts: Facts) -> Finding:
    """Whether kernel functions can be probed: by kprobes, or by fentry, which does without."""
    host = facts.host
    # Without this PMU (Linux 4.17), BCC would fall back to tracefs, whose probes outlive a crash.
    pmu = read_or_error(host.sys / "bus/event_source/devices/kprobe/type")
    if isinstance(pmu, OSError) and not is_missing(pmu):
        what = f"{pmu.filename} can't be read ({pmu.strerror})"
        return Finding("kprobes", Verdict.UNKNOWN, what)
    if isinstance(pmu, OSError) and not facts.does_without_kprobes:
        fix = "use a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS"
        return Finding("kprobes", Verdict.PROBLEM, "this kernel has no kprobes", fix)
    # A probe at a function's entry, and fentry too, rests on ftrace: attached, but never hit while
    # that is off (Documentation/trace/ftrace.rst, ftrace_enabled).
    if read_text(host.proc / "sys/kernel/ftrace_enabled") == "0":
        what = "ftrace is switched off, so probes would never be hit"
        return Finding("kprobes", Verdict.PROBLEM, what, "sysctl kernel.ftrace_enabled=1")
    if isinstance(pmu, OSError):
        return Finding("kprobes", Verdict.OK, "not in this kernel; fentry does without them")
    return _switch_of_kprobes(facts)


def _switch_of_kprobes(facts: Facts) -> Finding:
    enabled = facts.host.sys / "kernel/debug/kprobes/enabled"
    state = read_text(enabled)
    if state == "0" and facts.does_without_kprobes:
        return Finding("kprobes", Verdict.OK, "switched off; fentry does without them")
    if state == "0":
        what = "kprobes are switched off, so probes would never be hit"
        return Finding("kprobes", Verdict.PROBLEM, what, f"echo 1 > {enabled}")
    what = "enabled" if state else f"compiled in; {enabled} can't be read"
    return Finding("kprobes", Verdict.OK, what)


def btf(facts: Facts) -> Finding:
    """Whether the kernel describes its structs and functions; without, its headers do in part."""
    path = facts.host.sys / "kernel/btf/vmlinux"
    if isinstance(facts.btf, Btf):
        return Finding("btf", Verdict.OK, str(path))
    reason = facts.btf.strerror if isinstance(facts.btf, OSError) else facts.btf
    what = f"{path} can't be read ({reason})"
    if headers(facts).verdict is Verdict.PROBLEM:
        fix = "use a kernel with CONFIG_DEBUG_INFO_BTF, or install its headers"
        return Finding("btf", Verdict.PROBLEM, what, fix)
    what += ": offsets come from the kernel's headers, by kprobes and in full mode only"
    return Finding("btf", Verdict.WARNING, what, "use a kernel with CONFIG_DEBUG_INFO_BTF")


def bcc(facts: Facts) -> Finding:
    """Whether BCC is installed and which; it is not imported, since that would load LLVM."""
    install = f"{install_bcc(facts.host.os_release)}; never from pip"
    if not find_bcc(facts.distro_packages):
        return Finding("bcc", Verdict.PROBLEM, "BCC is not installed", install)
    version = bcc_version(facts.distro_packages)
    if not version:
        return Finding("bcc", Verdict.UNKNOWN, "installed, but of no version that can be read")
    if tuple(map(int, version.split(".")[:2])) < _BCC_WITH_RING_BUFFERS:
        what = f"BCC {version} has no ring buffers, so `hvoscope trace` can't work"
        return Finding("bcc", Verdict.WARNING, what, "update BCC to 0.16 or later")
    return Finding("bcc", Verdict.OK, f"version {version}")


def privileges(facts: Facts) -> Finding:
    """Whether this process may attach probes; nothing after that needs a privilege.

    The kernel is asked, by a trial. Where it can't be, capabilities have to do.
    """
    host, has = facts.host, facts.capabilities
    if _is_mapped(read_text(host.proc / "self/uid_map") or ""):
        what = "root in a user namespace only (a rootless container)"
        return Finding("privileges", Verdict.PROBLEM, what, "run as the machine's own root")
    refused = _trials(facts)
    if not_granted := _refused(facts, refused) if refused else _not_inferred(facts):
        return not_granted
    is_admin = has is not None and CAP_SYS_ADMIN in has
    granted = Finding("privileges", Verdict.OK, _granted(refused, is_admin=is_admin))
    if is_admin or (_FENTRY in refused and not refused[_FENTRY]):
        return granted
    # Debian's and Ubuntu's own levels above 2 ask for CAP_SYS_ADMIN in perf_event_open; the
    # kernel as released knows no such levels, and CAP_PERFMON is enough.
    level = read_text(host.proc / "sys/kernel/perf_event_paranoid") or ""
    if level.isdecimal() and int(level) > 2:
        what = f"kernel.perf_event_paranoid={level} may ask for more than CAP_PERFMON"
        fix = "sysctl kernel.perf_event_paranoid=2 (or run as root)"
        return Finding("privileges", Verdict.WARNING, what, fix)
    return granted


def _granted(refused: Mapping[str, OSError | None], *, is_admin: bool) -> str:
    if not refused:
        return "CAP_SYS_ADMIN" if is_admin else "CAP_BPF and CAP_PERFMON"
    return "; ".join(
        f"the kernel refuses {kind} ({error.strerror})" if error else f"the kernel loads {kind}"
        for kind, error in refused.items()
    )


def _trials(facts: Facts) -> dict[str, OSError | None]:
    """Programs of the kinds that can be attached here, and why the kernel did not take each.

    Empty where nothing can be tried.
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
    refused: dict[str, OSError | None] = {}
    for kind, function in wanted.items():
        try:
            facts.trial(function)
            refused[kind] = None
        except OSError as error:
            refused[kind] = error
    return refused


def _refused(facts: Facts, refused: Mapping[str, OSError | None]) -> Finding | None:
    """None where the kernel took one kind of program."""
    if not all(refused.values()):
        return None
    if facts.capabilities is not None and not _may_attach(facts):
        return _NO_PRIVILEGE
    said = ", ".join(f"{kind}: {error.strerror}" for kind, error in refused.items() if error)
    return Finding(
        "privileges",
        Verdict.PROBLEM,
        f"the kernel refuses a BPF program of two instructions ({said})",
        "run where nothing forbids it (seccomp filter, security module, a sandbox's own kernel)",
    )


def _not_inferred(facts: Facts) -> Finding | None:
    """None where the capabilities are enough."""
    if facts.capabilities is None:
        what = f"{facts.host.proc}/self/status does not say which capabilities this process has"
        return Finding("privileges", Verdict.UNKNOWN, what)
    return None if _may_attach(facts) else _NO_PRIVILEGE


def _may_attach(facts: Facts) -> bool:
    has = facts.capabilities or frozenset()
    return CAP_SYS_ADMIN in has or {CAP_PERFMON, CAP_BPF} <= has


def addresses(facts: Facts) -> Finding | None:
    """Whether HVO's switch can be watched: its address tells why a page was skipped."""
    if not facts.known_symbols or not facts.has_hvo:
        return None
    level = read_text(facts.host.proc / "sys/kernel/kptr_restrict")
    if level is None:
        return Finding("kptr_restrict", Verdict.UNKNOWN, "kernel.kptr_restrict can't be read")
    if level == "2":
        return Finding(
            "kptr_restrict",
            Verdict.WARNING,
            "addresses are hidden: why pages are skipped stays unknown",
            "sysctl kernel.kptr_restrict=1",
        )
    if not any(name in facts.known_symbols for name in SWITCHES):
        what = "the switch has no symbol: why pages are skipped stays unknown"
        fix = "use a kernel with CONFIG_KALLSYMS_ALL"
        return Finding("kptr_restrict", Verdict.WARNING, what, fix)
    return Finding("kptr_restrict", Verdict.OK, f"{level}: addresses are shown to root")


def steps(facts: Facts) -> Iterator[Finding]:
    """The function that stands for each step, or why none can."""
    if isinstance(facts.symbols, OSError) or not facts.has_hvo:
        return
    plan = make_plan(facts.known_symbols, btf=facts.known_btf)
    if "restore" not in {step.step for step in plan}:
        what = "not in this kernel (patch v17 3/9 without 4/9): no page is ever restored"
        yield Finding("restore", Verdict.OK, what)
    for step in plan:
        symbols = ", ".join(hook.symbol for hook in step.hooks)
        if symbols:
            yield Finding(step.step, Verdict.OK, symbols)
            continue
        fix = "report this kernel to hvoscope: its functions belong in probes/kernel/hooks.py"
        verdict = Verdict.WARNING if step.step == "batch" else Verdict.PROBLEM
        yield Finding(step.step, verdict, step.reason, fix)


def _is_mapped(uid_map: str) -> bool:
    """Whether this is a user namespace of its own; the first one maps every id to itself."""
    return bool(uid_map) and uid_map.split() != ["0", "0", "4294967295"]
