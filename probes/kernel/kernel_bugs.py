# SPDX-License-Identifier: Apache-2.0
"""Bugs of HVO that a kernel is recognized to have, by its BTF: nothing has to happen for it."""

from collections.abc import Callable

RESTORE_LEAK = "restore-leak"
"""Restored struct pages keep copies of the huge page's head: docs/kernel-bugs.

The walk copies the shared page without a reset (vmemmap_head, Linux 7.1) while that page still has
a head in it (no vmemmap_tails in struct zone, 7.1): stable 6.12.114 and later, read in Debian's
6.12.118."""

_WALK, _ZONE = "vmemmap_remap_walk", "zone"
STRUCTS = (_WALK, _ZONE)
"""Structs whose members tell."""


def kernel_bugs(has_member: Callable[[str, str], bool]) -> tuple[str, ...]:
    """Names of the bugs; ``has_member`` says whether BTF has a struct with that member."""
    leaves_heads = has_member(_WALK, "vmemmap_head") and not has_member(_ZONE, "vmemmap_tails")
    return (RESTORE_LEAK,) if leaves_heads else ()
