# SPDX-License-Identifier: Apache-2.0
"""Why a machine is not verified: nothing was changed yet, and nothing will be."""

from collections.abc import Callable, Sequence

from exporter.verify.cases import Case
from exporter.verify.running import in_use
from probes.kernel.hooks import has_hvo, restores
from probes.preflight.facts import BOOT_PARAMETER, Facts


def refusal(facts: Facts, *, euid: int, pools_in_use: bool = False) -> str:
    """Return why the running kernel is not verified, one line with the fix; empty if it can be."""
    checks: tuple[Callable[[], str], ...] = (
        lambda: _cannot_work(facts),
        lambda: "" if euid == 0 else "pools can be changed by root only: run as root",
        lambda: "" if pools_in_use else _used(facts),
    )
    return next(filter(None, (check() for check in checks)), "")


def _cannot_work(facts: Facts) -> str:
    """Why HVO can't work, or can't be tried; empty if it can."""
    if not facts.has_hvo:
        return "the kernel has no HVO (Linux 5.14, CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP)"
    if not facts.can_optimize:
        return "HVO has switched itself off: the size of struct page is not a power of two"
    if has_hvo(facts.known_symbols) and not restores(facts.known_symbols):
        return "the kernel can't restore optimized huge pages, so its pools must not shrink"
    if not facts.has_sysctl_file and not facts.enabled_at_boot:
        return f"HVO is off, and this kernel has no switch for it: boot with {BOOT_PARAMETER}=on"
    return ""


def _used(facts: Facts) -> str:
    used = in_use(facts)
    if not used:
        return ""
    return f"huge pages are in use or reserved ({used}): stop their users, or --pools-in-use"


def nothing_to_do(cases: Sequence[Case]) -> str:
    """Return why none of the cases can be done; empty if one can."""
    if not cases:
        return "the kernel's HVO frees no frame of any size of huge page"
    if all(case.skip for case in cases):
        return cases[0].skip
    return ""
