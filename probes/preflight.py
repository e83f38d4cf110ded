# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of attaching probes on this machine, each with the way to mend it.

Needs no privilege: everything here reads world-readable files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from probes.host import Host, read_text
from probes.live.bcc_import import DISTRO_PACKAGES, find_bcc
from probes.live.plan import choose
from probes.live.symbols import read_symbols

CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39
SYSCTL = "sys/vm/hugetlb_optimize_vmemmap"


class Problem(NamedTuple):
    """One obstacle: what it is, and what to do about it."""

    what: str
    fix: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.what}: {self.fix}"


def obstacles(host: Host, distro_packages: Path = DISTRO_PACKAGES) -> list[Problem]:
    """Everything that will keep probes from attaching; empty when nothing is in sight."""
    checks: tuple[Callable[[], Problem | None], ...] = (
        lambda: _hvo(host),
        lambda: _kprobes(host),
        lambda: _privileges(host),
        lambda: _bcc(distro_packages),
        lambda: _headers(host),
    )
    return [problem for check in checks if (problem := check())]


def switched_off(host: Host) -> Problem | None:
    """HVO is there but off: probes attach and will count nothing but skipped pages."""
    if read_text(host.proc / SYSCTL) != "0":
        return None
    return Problem(
        "HVO is switched off, so huge pages allocated now are not optimised",
        "sysctl vm.hugetlb_optimize_vmemmap=1, or boot with hugetlb_free_vmemmap=on",
    )


def _hvo(host: Host) -> Problem | None:
    try:
        symbols = read_symbols(host.proc / "kallsyms")
    except OSError as error:
        return Problem(
            f"{error.filename} can't be read ({error.strerror})", "the kernel needs CONFIG_KALLSYMS"
        )
    if choose(symbols)["optimize"]:
        return None
    return Problem(
        "this kernel has no HugeTLB vmemmap optimisation that hvoscope knows",
        "use Linux 5.14 or later with CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP on x86-64",
    )


def _kprobes(host: Host) -> Problem | None:
    # Without this PMU (Linux 4.17), BCC would fall back to tracefs, whose probes outlive a crash.
    if (host.sys / "bus/event_source/devices/kprobe/type").exists():
        return None
    return Problem("this kernel has no kprobes", "it needs CONFIG_KPROBES and CONFIG_KPROBE_EVENTS")


def _privileges(host: Host) -> Problem | None:
    effective = 0
    for line in (read_text(host.proc / "self/status") or "").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    has = {cap for cap in (CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF) if effective >> cap & 1}
    if CAP_SYS_ADMIN in has or {CAP_PERFMON, CAP_BPF} <= has:
        return None
    return Problem("no privilege to attach probes", "run as root")


def _bcc(distro_packages: Path) -> Problem | None:
    if find_bcc(distro_packages):
        return None
    return Problem(
        "BCC is not installed",
        "apt install python3-bpfcc (Fedora: dnf install python3-bcc); never from pip",
    )


def _headers(host: Host) -> Problem | None:
    release = host.release
    if (host.modules / release / "build").exists() or (
        host.sys / "kernel/kheaders.tar.xz"
    ).exists():
        return None
    return Problem(
        f"no kernel headers for {release}",
        f"apt install linux-headers-{release} (Fedora: dnf install kernel-devel-{release})",
    )
