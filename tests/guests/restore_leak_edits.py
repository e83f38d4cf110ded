# SPDX-License-Identifier: Apache-2.0
"""Corrects stable 6.12.114 and later, which lose optimized huge pages when they are restored.

As docs/kernel-bugs/2026-hvo-restore-leak.md proposes it.
"""

from __future__ import annotations

from tests.guests.edits import Edit

_C = "mm/hugetlb_vmemmap.c"

_RESET = r"""
#define NR_RESET_STRUCT_PAGE		4

static inline void reset_struct_pages(struct page *start)
{
	struct page *from = start + NR_RESET_STRUCT_PAGE;

	BUILD_BUG_ON(NR_RESET_STRUCT_PAGE * 2 > PAGE_SIZE / sizeof(struct page));
	memcpy(start, from, sizeof(*from) * NR_RESET_STRUCT_PAGE);
}

"""

EDITS = (
    # As it was up to 6.12.113.
    Edit(
        _C,
        r"\n(static void vmemmap_restore_pte\(pte_t \*pte, unsigned long addr,\n)",
        rf"{_RESET}\1",
    ),
    Edit(
        _C,
        r"(\tcopy_page\(page_to_virt\(dst\), page_to_virt\(src\)\);\n)(?!\treset)",
        r"\1\treset_struct_pages(page_to_virt(dst));\n",
    ),
    # The shared page is the head's own: by it alone the head's mapping cannot be told from others.
    Edit(
        _C,
        r"if \(walk->vmemmap_tail && walk->vmemmap_tail != src\)",
        r"if (walk->vmemmap_tail && (walk->vmemmap_tail != src || !walk->nr_walked))",
    ),
)
