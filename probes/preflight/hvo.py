# SPDX-License-Identifier: Apache-2.0
"""Checks of the kernel's HVO: whether it is on, and on which huge pages it works.

If the kernel has no HVO, or its HVO can never work, these checks return None, so that only the
cause is reported.
"""

from collections import Counter
from collections.abc import Sequence
from mmap import PAGESIZE

from probes.census.census import PoolCensus, saved_frames
from probes.census.facts import CensusError
from probes.geometry import MIB, size_label
from probes.kernel.host import is_missing, read_or_error
from probes.kernel.hugetlb_state import KernelState, huge_page_sizes
from probes.preflight.facts import BOOT_PARAMETER, Facts
from probes.preflight.finding import Finding, Verdict

_SYSCTL = "vm.hugetlb_optimize_vmemmap"
_REFILL = "with HVO on, empty the pools and fill them again"
_ON_AT_BOOT = f"boot with {BOOT_PARAMETER}=on"


def struct_page(facts: Facts) -> Finding | None:
    """Whether the size of struct page is a power of two, which HVO requires."""
    if not facts.has_hvo:
        return None
    size = facts.struct_page_size
    if isinstance(size, OSError | ValueError):
        return Finding("struct page", Verdict.UNKNOWN, "its size is unknown without BTF")
    if not isinstance(size, int):
        return Finding(
            "struct page",
            Verdict.PROBLEM,
            f"the kernel's BTF does not describe it ({size})",
            "use a kernel with complete BTF (CONFIG_DEBUG_INFO_BTF)",
        )
    if facts.can_optimize:
        return Finding("struct page", Verdict.OK, f"{size} bytes")
    return Finding(
        "struct page",
        Verdict.PROBLEM,
        f"{size} bytes, not a power of two: HVO has switched itself off",
        # 56 bytes without both options; KMSAN adds two pointers (include/linux/mm_types.h).
        "use a kernel with CONFIG_SLUB or CONFIG_MEMCG, and without CONFIG_KMSAN",
    )


def boot_parameter(facts: Facts) -> Finding | None:
    """Value of HVO's boot parameter, and whether the kernel accepts it."""
    if not facts.can_optimize:
        return None
    values = facts.boot_parameters
    if isinstance(values, OSError):
        what = f"{values.filename} can't be read ({values.strerror})"
        return Finding("boot", Verdict.UNKNOWN, what)
    if not values:
        default = {True: "on", False: "off", None: "unknown"}[facts.enabled_at_boot]
        what = f"{BOOT_PARAMETER}= is not set; the default is {default}"
        return Finding("boot", Verdict.OK, what)
    last = values[-1]
    what = f"{BOOT_PARAMETER} without a value" if last is None else f"{BOOT_PARAMETER}={last}"
    if facts.ignores(last):
        return Finding("boot", Verdict.WARNING, f"{what} is ignored by this kernel", _ON_AT_BOOT)
    if facts.enabled_at_boot is None:
        what += " is accepted only by some kernels"
        return Finding("boot", Verdict.WARNING, what, _ON_AT_BOOT)
    return Finding("boot", Verdict.OK, f"{what}, which means on" if last is None else what)


def switch(facts: Facts) -> Finding | None:
    """Whether HVO is on now: by the sysctl, or by the boot parameter if there is no sysctl."""
    if facts.sysctl in ("0", "1"):
        fix = f"sysctl {_SYSCTL}=1 (boot: {BOOT_PARAMETER}=on)"
        return _switch(facts.sysctl == "1", f"on: {_SYSCTL} is 1", fix)
    if not facts.can_optimize:
        return None
    if not facts.predates_sysctl:
        what = "does not exist" if facts.is_sysctl_missing else "can't be read"
        return Finding("switch", Verdict.UNKNOWN, f"{_SYSCTL} {what}")
    if facts.enabled_at_boot is None:
        what = "neither the boot parameter nor the kernel config shows it"
        return Finding("switch", Verdict.UNKNOWN, what)
    return _switch(
        facts.enabled_at_boot, "on since boot; this kernel has no sysctl for it", _ON_AT_BOOT
    )


def _switch(is_on: bool, how: str, fix: str) -> Finding:
    if is_on:
        return Finding("switch", Verdict.OK, how)
    what = "HVO is switched off, so new huge pages are not optimized"
    return Finding("switch", Verdict.WARNING, what, fix)


def hotplug(facts: Facts) -> Finding | None:
    """Whether hot-added memory contains its own struct pages, which HVO can't remap."""
    if not facts.can_optimize:
        return None
    path = facts.host.sys / "module/memory_hotplug/parameters/memmap_on_memory"
    value = read_or_error(path)
    if isinstance(value, OSError) and not is_missing(value):
        what = f"{path} can't be read ({value.strerror})"
        return Finding("hotplug", Verdict.UNKNOWN, what)
    if isinstance(value, OSError) or value == "N":  # else Y, or force
        return Finding("hotplug", Verdict.OK, "memory_hotplug.memmap_on_memory is off")
    if facts.predates_sysctl:  # the two exclude each other, and HVO has priority
        return Finding("hotplug", Verdict.OK, "HVO overrides memory_hotplug.memmap_on_memory")
    what = "memmap_on_memory is on: hot-added memory can't be optimized"
    if facts.is_sysctl_missing:  # Linux 5.19
        what = f"memmap_on_memory is on, which removes {_SYSCTL}"
    fix = "boot with memory_hotplug.memmap_on_memory=off"
    return Finding("hotplug", Verdict.WARNING, what, fix)


def pools(facts: Facts) -> Finding | None:
    """Existing huge pages, and how many of them are optimized."""
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
        return Finding("pools", Verdict.OK, "no huge pages are allocated yet")
    return _allocated(facts, filled)


def _allocated(facts: Facts, filled: str) -> Finding:
    if not facts.can_optimize:
        return Finding("pools", Verdict.OK, filled)
    if not isinstance(facts.census, CensusError):
        return _counted(filled, facts.census)
    no_census = f"no census: {facts.census}"
    if facts.sysctl != "0" and facts.enabled_at_boot:
        what = f"{filled}; HVO has been on since boot ({no_census})"
        return Finding("pools", Verdict.OK, what)
    what = f"{filled}; pages allocated while HVO was off are not optimized ({no_census})"
    return Finding("pools", Verdict.UNKNOWN, what, _REFILL)


def _counted(filled: str, census: Sequence[PoolCensus]) -> Finding:
    """What a census says of the pools."""
    pages = sum(row.pages for pool in census for row in pool.nodes)
    optimized = sum(row.optimized for pool in census for row in pool.nodes)
    what = f"{filled}; {'all' if optimized == pages else optimized} optimized"
    saved = saved_frames(census)
    if saved is not None:
        what += f", {saved * PAGESIZE / MIB:.1f} MiB saved"
    if optimized == pages:
        return Finding("pools", Verdict.OK, what)
    return Finding("pools", Verdict.WARNING, what, _REFILL)


def _filled_pools(facts: Facts) -> str:
    state = KernelState(facts.host)
    pages: Counter[int] = Counter()
    for pool in state.pools().by_node:
        if pool.state == "total":
            pages[pool.size] += pool.pages
    for size, total in state.totals().items():
        pages[size] = max(total, pages[size])  # some nodes may have no pool files
    return ", ".join(f"{n} of {size_label(size)}" for size, n in sorted(pages.items()) if n > 0)
