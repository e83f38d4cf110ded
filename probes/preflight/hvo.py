# SPDX-License-Identifier: Apache-2.0
"""Checks on what the kernel's HVO can do: is it on, and which huge pages can it work on.

A kernel without HVO, or whose HVO can never work, has no such questions: these checks then return
None, and the one problem stands alone.
"""

from collections import Counter

from probes.geometry import size_label
from probes.kernel.host import is_missing, read_or_error
from probes.kernel.hugetlb_state import KernelState, huge_page_sizes
from probes.preflight.facts import BOOT_PARAMETER, Facts
from probes.preflight.finding import Finding, Verdict

_SYSCTL = "vm.hugetlb_optimize_vmemmap"
_ON_AT_BOOT = f"boot with {BOOT_PARAMETER}=on"


def struct_page(facts: Facts) -> Finding | None:
    """Whether struct page is a power of two, without which no kernel can share its frames."""
    if not facts.has_hvo:
        return None
    size = facts.struct_page_size
    if isinstance(size, OSError | ValueError):
        return Finding("struct page", Verdict.UNKNOWN, "its size can't be told without BTF")
    if not isinstance(size, int):
        return Finding(
            "struct page",
            Verdict.PROBLEM,
            f"the kernel's BTF does not describe it ({size})",
            "use a kernel whose BTF is whole (CONFIG_DEBUG_INFO_BTF)",
        )
    if facts.can_optimise:
        return Finding("struct page", Verdict.OK, f"{size} bytes")
    return Finding(
        "struct page",
        Verdict.PROBLEM,
        f"{size} bytes, no power of two: HVO has switched itself off",
        # 56 bytes come of neither option; KMSAN adds two pointers (include/linux/mm_types.h).
        "use a kernel with CONFIG_SLUB or CONFIG_MEMCG, and without CONFIG_KMSAN",
    )


def boot_parameter(facts: Facts) -> Finding | None:
    """What the kernel was told about HVO when it started."""
    if not facts.can_optimise:
        return None
    values = facts.boot_parameters
    if isinstance(values, OSError):
        what = f"{values.filename} can't be read ({values.strerror})"
        return Finding("boot", Verdict.UNKNOWN, what)
    if not values:
        default = {True: "on", False: "off", None: "unknown"}[facts.on_from_boot]
        what = f"{BOOT_PARAMETER}= is not given; the default is {default}"
        return Finding("boot", Verdict.OK, what)
    last = values[-1]
    what = f"{BOOT_PARAMETER} without a value" if last is None else f"{BOOT_PARAMETER}={last}"
    if facts.ignores(last):
        return Finding("boot", Verdict.WARNING, f"{what} means nothing to the kernel", _ON_AT_BOOT)
    if facts.on_from_boot is None:
        what += " means something to some kernels only"
        return Finding("boot", Verdict.WARNING, what, _ON_AT_BOOT)
    return Finding("boot", Verdict.OK, f"{what}, which means on" if last is None else what)


def switch(facts: Facts) -> Finding | None:
    """Whether HVO is on now: the sysctl, or the boot parameter where it is the only switch."""
    if facts.sysctl in ("0", "1"):
        fix = f"sysctl {_SYSCTL}=1 (boot: {BOOT_PARAMETER}=on)"
        return _switch(facts.sysctl == "1", f"on: {_SYSCTL} is 1", fix)
    if not facts.can_optimise:
        return None
    if not facts.is_before_sysctl:
        what = "is not there" if facts.is_sysctl_missing else "can't be read"
        return Finding("switch", Verdict.UNKNOWN, f"{_SYSCTL} {what}")
    if facts.on_from_boot is None:
        return Finding("switch", Verdict.UNKNOWN, "neither boot parameter nor kernel config tells")
    return _switch(
        facts.on_from_boot, "on from boot; this kernel has no sysctl for it", _ON_AT_BOOT
    )


def _switch(is_on: bool, how: str, fix: str) -> Finding:
    if is_on:
        return Finding("switch", Verdict.OK, how)
    what = "HVO is switched off, so new huge pages are not optimised"
    return Finding("switch", Verdict.WARNING, what, fix)


def hotplug(facts: Facts) -> Finding | None:
    """Whether memory added later keeps its struct pages in itself, where they can't be remapped."""
    if not facts.can_optimise:
        return None
    path = facts.host.sys / "module/memory_hotplug/parameters/memmap_on_memory"
    value = read_or_error(path)
    if isinstance(value, OSError) and not is_missing(value):
        what = f"{path} can't be read ({value.strerror})"
        return Finding("hotplug", Verdict.UNKNOWN, what)
    if isinstance(value, OSError) or value == "N":  # else Y, or force
        return Finding("hotplug", Verdict.OK, "memory_hotplug.memmap_on_memory is off")
    if facts.is_before_sysctl:  # the two exclude each other, and HVO goes first
        return Finding("hotplug", Verdict.OK, "memory_hotplug.memmap_on_memory gives way to HVO")
    what = "memmap_on_memory is on: hot-added memory can't be optimised"
    if facts.is_sysctl_missing:  # Linux 5.19
        what = f"memmap_on_memory is on, and takes {_SYSCTL} away"
    fix = "boot with memory_hotplug.memmap_on_memory=off"
    return Finding("hotplug", Verdict.WARNING, what, fix)


def pools(facts: Facts) -> Finding | None:
    """Huge pages that are there already, and whether HVO has seen them allocated."""
    if not facts.has_hvo:
        return None
    folder = facts.host.sys / "kernel/mm/hugepages"
    try:
        sizes, filled = huge_page_sizes(facts.host), _filled_pools(facts)
    except OSError as error:
        what = f"{folder} can't be read ({error.strerror})"
        return Finding("pools", Verdict.UNKNOWN, what)
    except ValueError as error:
        return Finding("pools", Verdict.UNKNOWN, str(error))
    if not sizes:
        return Finding(
            "pools",
            Verdict.PROBLEM,
            f"{folder} lists no huge page size",
            "the kernel needs CONFIG_HUGETLBFS and a CPU with huge pages",
        )
    if not filled:
        return Finding("pools", Verdict.OK, "no huge page is allocated yet")
    return _allocated(facts, filled)


def _allocated(facts: Facts, filled: str) -> Finding:
    if not facts.can_optimise:
        return Finding("pools", Verdict.OK, filled)
    if facts.sysctl != "0" and facts.on_from_boot:
        return Finding("pools", Verdict.OK, f"{filled}; HVO has been on since boot")
    return Finding(
        "pools",
        Verdict.UNKNOWN,
        f"{filled}; those allocated while HVO was off stay unoptimised, and no flag shows which",
        "with HVO on, empty the pools and fill them again",
    )


def _filled_pools(facts: Facts) -> str:
    state = KernelState(facts.host)
    pages: Counter[int] = Counter()
    for pool in state.pools().by_node:
        if pool.state == "total":
            pages[pool.size] += pool.pages
    for size, total in state.totals().items():
        pages[size] = max(total, pages[size])  # not every node need show its own
    return ", ".join(f"{n} of {size_label(size)}" for size, n in sorted(pages.items()) if n > 0)
