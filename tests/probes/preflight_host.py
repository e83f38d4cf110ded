# SPDX-License-Identifier: Apache-2.0
"""A machine without problems, as files, which tests change."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from probes.kernel.host import Host
from probes.preflight import Finding, examine
from tests.probes import trees
from tests.probes.trees import make_host

RELEASE = "6.1.0-test"

SYSCTL = "proc/sys/vm/hugetlb_optimize_vmemmap"
KALLSYMS = "proc/kallsyms"
CONFIG = f"boot/config-{RELEASE}"
BTF = "sys/kernel/btf/vmlinux"
KPROBE_PMU = "sys/bus/event_source/devices/kprobe/type"

SYMBOLS_6_1 = (
    "vmemmap_optimize_enabled",
    "hugetlb_vmemmap_optimize",
    "vmemmap_remap_range",
    "vmemmap_remap_pte",
    "hugetlb_vmemmap_restore",
    "vmemmap_restore_pte",
)
SYMBOLS_5_15 = (
    "hugetlb_free_vmemmap_enabled",
    "free_huge_page_vmemmap",
    "vmemmap_remap_free",
    "vmemmap_remap_range",
    "vmemmap_remap_pte",
    "alloc_huge_page_vmemmap",
    "vmemmap_restore_pte",
)
OPTIONS = (
    "HUGETLB_PAGE_OPTIMIZE_VMEMMAP",
    "KPROBES",
    "KPROBE_EVENTS",
    "BPF_SYSCALL",
    "BPF_EVENTS",
    "DEBUG_INFO_BTF",
)

WORKING: Mapping[str, str | bytes] = {
    KALLSYMS: "\n".join(f"ffffffff81000000 t {name}" for name in SYMBOLS_6_1),
    "proc/cmdline": "root=/dev/vda quiet\n",
    SYSCTL: "1\n",
    "proc/sys/kernel/ftrace_enabled": "1\n",
    "proc/sys/kernel/kptr_restrict": "0\n",
    "proc/self/status": "Name:\tx\nCapEff:\t000001ffffffffff\n",
    "proc/self/uid_map": "         0          0 4294967295\n",
    KPROBE_PMU: "8\n",
    "sys/kernel/debug/kprobes/enabled": "1\n",
    "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0\n",
    "sys/module/memory_hotplug/parameters/memmap_on_memory": "N\n",
    f"modules/{RELEASE}/build/include/linux/kconfig.h": "",
    "dist/bcc/__init__.py": "",
    "dist/bcc/version.py": "__version__ = '0.26.0'\n",
}


def kallsyms(*names: str) -> str:
    """Return a kallsyms file with these symbols."""
    return "\n".join(f"ffffffff81000000 t {name}" for name in names)


def config(*lacking: str) -> str:
    """Return a complete kernel configuration without these options."""
    return "".join(
        f"# CONFIG_{name} is not set\n" if name in lacking else f"CONFIG_{name}=y\n"
        for name in OPTIONS
    )


def btf(struct_page_size: int, name: str = "page") -> bytes:
    """Return BTF (Documentation/bpf/btf.rst) of one struct without members."""
    return trees.btf({name: struct_page_size})


Changes = Mapping[str, str | bytes | None]
"""Contents by file; None for no such file."""


def machine(root: Path, changes: Changes, kind: str = "x86_64") -> Host:
    """Write a working machine with ``changes``: other contents, or None for no such file."""
    files = {**WORKING, CONFIG: config(), BTF: btf(64), **changes}
    host = make_host(root, {name: text for name, text in files.items() if isinstance(text, str)})
    for name, blob in files.items():
        if isinstance(blob, bytes):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(blob)
    return dataclasses.replace(host, machine=kind, boot=root / "boot")


def finding_of(root: Path, name: str, changes: Changes) -> Finding:
    """Return the finding of this name, on a working machine with ``changes``."""
    findings = examine(machine(root, changes), root / "dist")
    (finding,) = (finding for finding in findings if finding.name == name)
    return finding
