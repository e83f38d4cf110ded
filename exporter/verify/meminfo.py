# SPDX-License-Identifier: Apache-2.0
"""Memory that is free, or that /proc/meminfo says is used: what is lost is in neither."""

import re
from collections.abc import Mapping
from mmap import PAGESIZE

from probes.geometry import KIB
from probes.kernel.host import Host

_KNOWN = (
    *("MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "Slab", "KernelStack"),
    *("PageTables", "SecPageTables", "Percpu", "VmallocUsed", "Hugetlb"),
)
"""Lines that do not overlap (fs/proc/meminfo.c); some kernels lack some."""

_LINE = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_CPU_LIST = re.compile(r"^ +count: +(\d+)$", re.MULTILINE)
"""Frames that a CPU keeps for itself: free, but not in MemFree (mm/vmstat.c, zoneinfo)."""


def read_meminfo(host: Host) -> Mapping[str, int]:
    """Lines of /proc/meminfo in bytes. Raises ``OSError``."""
    text = (host.proc / "meminfo").read_text(encoding="ascii")
    return {name: int(kib) * KIB for name, kib in _LINE.findall(text)}


def accounted_bytes(host: Host) -> int:
    """Free memory and known uses, together. Raises ``OSError``."""
    lines = read_meminfo(host)
    zones = (host.proc / "zoneinfo").read_text(encoding="ascii")
    with_cpus = sum(map(int, _CPU_LIST.findall(zones))) * PAGESIZE
    return with_cpus + sum(lines.get(name, 0) for name in _KNOWN)
