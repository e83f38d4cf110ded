# SPDX-License-Identifier: Apache-2.0
"""Bugs of HVO that a kernel is recognized to have without a run, and what they do."""

from collections.abc import Mapping

from probes.preflight.facts import RESTORE_LEAK, Facts

__all__ = ["RESTORE_LEAK", "RESTORE_LEAK_DOES", "recognized"]

RESTORE_LEAK_DOES = (
    "with init_on_alloc=1, optimized huge pages that are given back are lost (BUG: Bad page "
    "state); with init_on_alloc=0 their flags stay on free memory, on which the kernel can hang: "
    "use another kernel, or boot with hugetlb_free_vmemmap=off"
)
"""Seen on Debian's 6.12.115 to .118."""


def recognized(facts: Facts) -> Mapping[str, str]:
    """Bugs of the kernel, by name, each with what it does."""
    return {RESTORE_LEAK: RESTORE_LEAK_DOES} if RESTORE_LEAK in facts.kernel_bugs else {}
