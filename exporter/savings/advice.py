# SPDX-License-Identifier: Apache-2.0
"""How to switch HVO on, and what the kernel's documentation warns of, in short.

Sources: Documentation/admin-guide/sysctl/vm.rst (hugetlb_optimize_vmemmap),
Documentation/admin-guide/mm/hugetlbpage.rst, Documentation/mm/vmemmap_dedup.rst.
"""

from collections.abc import Iterator, Sequence

from exporter import units
from exporter.savings.forecast import Saving
from exporter.savings.machine import Subject
from probes.geometry import size_label
from probes.kernel.host import read_text
from probes.preflight.facts import BOOT_PARAMETER, Facts

SYSCTL = "sysctl -w vm.hugetlb_optimize_vmemmap=1"
AT_BOOT = f"{BOOT_PARAMETER}=on"

_OPTION = "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP"
_KEEP = f"{AT_BOOT} on the kernel's command line, to have it on after the next boot too"

_KERNELS = {
    "x86-64": ("Linux 5.19 and later", "Linux 5.14 and later"),
    "arm64": ("Linux 5.19 to 6.2", "Linux 5.19 to 6.2"),
    "riscv64": ("Linux 6.4 and later", "Linux 6.4 and later"),
}
"""Which releases take the sysctl and the boot parameter, as far as Linux itself goes."""

_TAKE = {"x86-64": "take one from 5.14 on, built", "riscv64": "take one from 6.4 on, built"}


def switch(subject: Subject, savings: Sequence[Saving]) -> tuple[str, ...]:
    """What to set, a line each; on the running machine, only what is not so already."""
    facts = subject.facts
    if not _anything(savings):
        return ()
    now, boot = (
        f"{line} ({kernels})" if kernels else line
        for line, kernels in zip(
            (_now(), _boot()), _KERNELS.get(subject.architecture, ("", "")), strict=True
        )
    )
    if facts is None:
        return now, boot
    if facts.has_hvo:
        return _switch_of(facts)
    if isinstance(facts.symbols, OSError):
        path = facts.symbols.filename
        return f"whether this kernel has HVO is not known, as {path} is hidden", now, boot
    take = _TAKE.get(subject.architecture, "take one that is built")
    return (f"this kernel has no HVO: {take} with {_OPTION}",)


def _now() -> str:
    return f"{SYSCTL}: for huge pages allocated from then on"


def _boot() -> str:
    return f"{AT_BOOT} on the kernel's command line: from boot on"


def _switch_of(facts: Facts) -> tuple[str, ...]:
    keep = () if facts.enabled_at_boot else (_KEEP,)
    if facts.sysctl == "1":
        return ("HVO is on already", *keep)
    if facts.predates_sysctl:
        return ("HVO is on already",) if facts.enabled_at_boot else (_boot(),)
    return _now(), *keep


def warnings(subject: Subject, savings: Sequence[Saving]) -> tuple[str, ...]:
    """What to know before switching it on, a line each; nothing where nothing can be saved."""
    if not _anything(savings):
        return ()
    return tuple(_warnings(subject, max(savings, key=lambda saving: saving.frames_freed_per_page)))


def _anything(savings: Sequence[Saving]) -> bool:
    return any(saving.frames_freed_per_page for saving in savings)


def _warnings(subject: Subject, largest: Saving) -> Iterator[str]:
    if subject.architecture == "arm64":
        yield from _on_arm64(subject.facts)
    yield "huge pages that are in the pool already stay as they are: empty it, and fill it again"
    frames = units.memory(largest.frames_freed_per_page * largest.page_size)
    yield (
        f"giving a huge page back takes memory first ({frames} for one of "
        f"{size_label(largest.size)}): when memory is short it can fail, and has to be tried again "
        "later"
    )
    yield "for the same reason there can be more surplus huge pages for a while than are allowed"
    yield (
        "huge pages in use when nr_hugepages is set to 0 become surplus, and stay optimised until "
        "they are let go"
    )
    yield (
        "huge pages made on the fly (nr_overcommit_hugepages) take longer at each fault: weigh it"
    )
    if subject.facts and subject.facts.may_leave_stale_heads:
        yield (
            "this kernel may hang after huge pages were given back, as Debian's 6.12.118 does: "
            "hvoscope check says more"
        )
    if not _memmap_on_memory_is_off(subject.facts):
        yield (
            "memory that was hot-added with memory_hotplug.memmap_on_memory on can't be optimised"
        )


def _on_arm64(facts: Facts | None) -> Iterator[str]:
    """What this kernel has decides; only where that is not known, what Linux has had so far."""
    if facts is None or not facts.has_hvo or facts.remaps_live_ptes_unsafely is None:
        yield (
            "Linux took HVO out of arm64 in 6.3 and in stable updates before it (commit "
            f"060a2c92d1b6): a kernel after that has it only where its configuration has {_OPTION}"
        )
    elif facts.remaps_live_ptes_unsafely:
        yield (
            "this kernel gives live PTEs other frames, which arm64 forbids (taken out by commit "
            "060a2c92d1b6): update it, and leave HVO off until then"
        )


def _memmap_on_memory_is_off(facts: Facts | None) -> bool:
    if facts is None:
        return False
    value = read_text(facts.host.sys / "module/memory_hotplug/parameters/memmap_on_memory")
    return value in (None, "N")  # None: this kernel has no memory hotplug
