# SPDX-License-Identifier: Apache-2.0
"""Corrects stable 6.12.114 and later, which lose optimized huge pages when they are restored.

As docs/kernel-bugs/2026-hvo-restore-leak.md proposes it.
"""

from __future__ import annotations

from tests.guests.edits import Edit

_C = "mm/hugetlb_vmemmap.c"

_FIRST = "(struct page *)page_to_virt(dst)"
_NOT_LIKE_THE_REST = 4
"""Struct pages at the start of the shared page: the head's, and tails that hold something of it."""

EDITS = (
    # What reset_struct_pages did up to 6.12.113.
    Edit(
        _C,
        r"(\tcopy_page\(page_to_virt\(dst\), page_to_virt\(src\)\);\n)(?!\tmemcpy)",
        rf"\1\tmemcpy({_FIRST}, {_FIRST} + {_NOT_LIKE_THE_REST},\n"
        rf"\t       {_NOT_LIKE_THE_REST} * sizeof(struct page));\n",
    ),
    # The shared page is the head's own: by it alone the head's mapping cannot be told from others.
    Edit(
        _C,
        r"if \(walk->vmemmap_tail && walk->vmemmap_tail != src\)",
        r"if (walk->vmemmap_tail && (walk->vmemmap_tail != src || !walk->nr_walked))",
    ),
)
