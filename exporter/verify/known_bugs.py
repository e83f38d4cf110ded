# SPDX-License-Identifier: Apache-2.0
"""Bugs of HVO that a kernel is recognized to have without a run, and what they do."""

from collections.abc import Iterable, Mapping

from probes.kernel.kernel_bugs import RESTORE_LEAK

RESTORE_LEAK_DOES = (
    "with init_on_alloc=1, optimized huge pages that are given back are lost (BUG: Bad page "
    "state); with init_on_alloc=0 their flags stay on free memory, on which the kernel can hang: "
    "use another kernel, or boot with hugetlb_free_vmemmap=off"
)
"""Seen on Debian's 6.12.115 to .118."""


_DOES = {RESTORE_LEAK: RESTORE_LEAK_DOES}


def described(bugs: Iterable[str]) -> Mapping[str, str]:
    """What each bug does, by name."""
    return {bug: _DOES[bug] for bug in bugs}
