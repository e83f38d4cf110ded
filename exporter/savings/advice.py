# SPDX-License-Identifier: Apache-2.0
"""How to enable HVO, and the caveats of the kernel's documentation, in short.

Sources: Documentation/admin-guide/sysctl/vm.rst (hugetlb_optimize_vmemmap),
Documentation/admin-guide/mm/hugetlbpage.rst, Documentation/mm/vmemmap_dedup.rst.
"""

from collections.abc import Iterator, Sequence

from exporter import units
from exporter.savings.forecast import Saving
from exporter.savings.machine import Target
from probes.geometry import size_label
from probes.kernel.host import read_text
from probes.preflight.facts import BOOT_PARAMETER, Facts

SYSCTL = "sysctl -w vm.hugetlb_optimize_vmemmap=1"
AT_BOOT = f"{BOOT_PARAMETER}=on"

_OPTION = "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP"
_KEEP = f"{AT_BOOT} on the kernel command line, to enable it after the next boot too"

_KERNELS = {
    "x86-64": ("Linux 5.19 and later", "Linux 5.14 and later"),
    "arm64": ("Linux 5.19 to 6.2", "Linux 5.19 to 6.2"),
    "riscv64": ("Linux 6.4 and later", "Linux 6.4 and later"),
}
"""Mainline releases that have the sysctl, and those that have the boot parameter."""

_REQUIRED = {"x86-64": "use Linux 5.14 or later, built", "riscv64": "use Linux 6.4 or later, built"}


def switch(target: Target, savings: Sequence[Saving]) -> tuple[str, ...]:
    """Return the settings that enable HVO, one per line; for this machine, only missing ones."""
    facts = target.facts
    if not _anything(savings):
        return ()
    now, boot = (
        f"{line} ({kernels})" if kernels else line
        for line, kernels in zip(
            (_now(), _boot()), _KERNELS.get(target.architecture, ("", "")), strict=True
        )
    )
    if facts is None:
        return now, boot
    if facts.has_hvo:
        return _switch_of(facts)
    if isinstance(facts.symbols, OSError):
        path = facts.symbols.filename
        return f"unknown whether this kernel has HVO: {path} can't be read", now, boot
    required = _REQUIRED.get(target.architecture, "use a kernel that is built")
    return (f"this kernel has no HVO: {required} with {_OPTION}",)


def _now() -> str:
    return f"{SYSCTL}: for huge pages allocated afterwards"


def _boot() -> str:
    return f"{AT_BOOT} on the kernel command line: from boot on"


def _switch_of(facts: Facts) -> tuple[str, ...]:
    keep = () if facts.enabled_at_boot else (_KEEP,)
    if facts.sysctl == "1":
        return ("HVO is already on", *keep)
    if facts.predates_sysctl:
        return ("HVO is already on",) if facts.enabled_at_boot else (_boot(),)
    return _now(), *keep


def warnings(target: Target, savings: Sequence[Saving]) -> tuple[str, ...]:
    """Return the caveats of enabling HVO, one per line; none if it saves nothing."""
    if not _anything(savings):
        return ()
    return tuple(_warnings(target, max(savings, key=lambda saving: saving.frames_freed_per_page)))


def _anything(savings: Sequence[Saving]) -> bool:
    return any(saving.frames_freed_per_page for saving in savings)


def _warnings(target: Target, largest: Saving) -> Iterator[str]:
    if target.architecture == "arm64":
        yield from _on_arm64(target.facts)
    yield "existing huge pages are not converted: set nr_hugepages to 0 and back"
    frames = units.memory(largest.frames_freed_per_page * largest.page_size)
    yield (
        f"freeing a huge page allocates memory first ({frames} for one of "
        f"{size_label(largest.size)}): it can fail while memory is short and must then be retried"
    )
    yield "for the same reason, surplus huge pages can temporarily exceed nr_overcommit_hugepages"
    yield (
        "huge pages in use when nr_hugepages is set to 0 become surplus and stay optimized until "
        "they are freed"
    )
    yield "overcommitted huge pages (nr_overcommit_hugepages) take longer to fault in"
    if target.facts and target.facts.may_leave_stale_heads:
        yield (
            "this kernel loses optimized huge pages when they are freed, or hangs later, as "
            "Debian's 6.12.118 does (restore-leak): use another kernel, or leave HVO off"
        )
    if not _memmap_on_memory_is_off(target.facts):
        yield ("memory hot-added while memory_hotplug.memmap_on_memory is on can't be optimized")


def _on_arm64(facts: Facts | None) -> Iterator[str]:
    """Warn by what this kernel has; if that is unknown, by the history of mainline."""
    if facts is None or not facts.has_hvo or facts.remaps_live_ptes_unsafely is None:
        yield (
            "Linux 6.3 and earlier stable updates removed HVO from arm64 (commit 060a2c92d1b6): "
            f"a later kernel has it only if its configuration has {_OPTION}"
        )
    elif facts.remaps_live_ptes_unsafely:
        yield (
            "this kernel changes the frames of live PTEs, which arm64 forbids (removed by commit "
            "060a2c92d1b6): leave HVO off until the kernel is updated"
        )


def _memmap_on_memory_is_off(facts: Facts | None) -> bool:
    if facts is None:
        return False
    value = read_text(facts.host.sys / "module/memory_hotplug/parameters/memmap_on_memory")
    return value in (None, "N")  # None: this kernel has no memory hotplug
