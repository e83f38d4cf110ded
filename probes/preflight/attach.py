# SPDX-License-Identifier: Apache-2.0
"""Checks on attaching probes: the kernel's means, the tools, and the right to use them."""

import re
from collections.abc import Iterator
from pathlib import Path

from probes.host import read_text
from probes.live.bcc_import import bcc_version, find_bcc
from probes.live.btf import Btf
from probes.live.plan import SWITCHES, make_plan, restores
from probes.live.program_cache import has_programs
from probes.preflight.facts import Facts
from probes.preflight.finding import Finding, Verdict

CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39

_BCC_WITH_RING_BUFFERS = (0, 16)
"""The release after bcc pull requests 2969 and 2989, in the summer of 2020."""


def lockdown(facts: Facts) -> Finding:
    """Whether the kernel keeps its memory secret even from root."""
    text = read_text(facts.host.sys / "kernel/security/lockdown")
    if text is None:
        if _exists(facts.host.sys / "kernel/security/lsm"):  # securityfs is there, lockdown not
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
    """Whether kernel functions can be probed."""
    host = facts.host
    # Without this PMU (Linux 4.17), BCC would fall back to tracefs, whose probes outlive a crash.
    if not _exists(host.sys / "bus/event_source/devices/kprobe/type"):
        fix = "use a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS"
        return Finding("kprobes", Verdict.PROBLEM, "this kernel has no kprobes", fix)
    # A probe at a function's entry rests on ftrace: attached, but never hit while that is off
    # (Documentation/trace/ftrace.rst, ftrace_enabled).
    if read_text(host.proc / "sys/kernel/ftrace_enabled") == "0":
        what = "ftrace is switched off, so probes would never be hit"
        return Finding("kprobes", Verdict.PROBLEM, what, "sysctl kernel.ftrace_enabled=1")
    enabled = host.sys / "kernel/debug/kprobes/enabled"
    state = read_text(enabled)
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


def headers(facts: Facts) -> Finding:
    """Whether there are kernel headers for BCC."""
    host, release = facts.host, facts.host.release
    for path in (host.modules / release / "build", host.sys / "kernel/kheaders.tar.xz"):
        if _exists(path):
            return Finding("headers", Verdict.OK, str(path))
    what = f"no kernel headers for {release}"
    fix = f"apt install linux-headers-{release} (Fedora: dnf install kernel-devel-{release})"
    if facts.cache is not None and has_programs(facts.cache):
        what += ": only probes compiled before can be attached"
        return Finding("headers", Verdict.WARNING, what, fix)
    return Finding("headers", Verdict.PROBLEM, what, fix)


def bcc(facts: Facts) -> Finding:
    """Whether BCC is installed and which; it is not imported, since that would load LLVM."""
    install = "apt install python3-bpfcc (Fedora: dnf install python3-bcc); never from pip"
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
    """Whether this process may attach probes; nothing after that needs a privilege."""
    host = facts.host
    effective = _capabilities(read_text(host.proc / "self/status") or "")
    if not (CAP_SYS_ADMIN in effective or {CAP_PERFMON, CAP_BPF} <= effective):
        return Finding(
            "privileges", Verdict.PROBLEM, "no privilege to attach probes", "run as root"
        )
    if _is_mapped(read_text(host.proc / "self/uid_map") or ""):
        what = "root in a user namespace only (a rootless container)"
        return Finding("privileges", Verdict.PROBLEM, what, "run as the machine's own root")
    if CAP_SYS_ADMIN in effective:
        return Finding("privileges", Verdict.OK, "CAP_SYS_ADMIN")
    # Debian's and Ubuntu's own levels above 2 ask for CAP_SYS_ADMIN in perf_event_open; the
    # kernel as released knows no such levels, and CAP_PERFMON is enough.
    level = read_text(host.proc / "sys/kernel/perf_event_paranoid") or ""
    if level.isdecimal() and int(level) > 2:
        what = f"kernel.perf_event_paranoid={level} may ask for more than CAP_PERFMON"
        fix = "sysctl kernel.perf_event_paranoid=2 (or run as root)"
        return Finding("privileges", Verdict.WARNING, what, fix)
    return Finding("privileges", Verdict.OK, "CAP_BPF and CAP_PERFMON")


def addresses(facts: Facts) -> Finding | None:
    """Whether HVO's switch can be watched: its address tells why a page was skipped."""
    if not facts.has_hvo:
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
    if not facts.has_hvo:
        return
    btf = facts.btf if isinstance(facts.btf, Btf) else None
    if not restores(facts.known_symbols):
        what = "not in this kernel (patch v17 3/9 without 4/9): no page is ever restored"
        yield Finding("restore", Verdict.OK, what)
    for step in make_plan(facts.known_symbols, btf=btf):
        symbols = ", ".join(hook.symbol for hook in step.hooks)
        if symbols:
            yield Finding(step.step, Verdict.OK, symbols)
            continue
        fix = "report this kernel to hvoscope: its functions belong in probes/live/plan.py"
        verdict = Verdict.WARNING if step.step == "batch" else Verdict.PROBLEM
        yield Finding(step.step, verdict, step.reason, fix)


def _exists(path: Path) -> bool:
    """Whether it is there for all we can see, even where a folder above can't be entered."""
    try:
        return path.exists()
    except OSError:
        return False


def _capabilities(status: str) -> frozenset[int]:
    mask = 0
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
    return frozenset(cap for cap in (CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF) if mask >> cap & 1)


def _is_mapped(uid_map: str) -> bool:
    """Whether this is a user namespace of its own; the first one maps every id to itself."""
    return bool(uid_map) and uid_map.split() != ["0", "0", "4294967295"]
