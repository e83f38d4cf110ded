# SPDX-License-Identifier: Apache-2.0
"""Turns Linux 6.1 into a kernel with the function names and the geometry of HVO's first days.

`free_huge_page_vmemmap` -> `vmemmap_remap_free` -> `vmemmap_remap_pte`, and back by
`alloc_huge_page_vmemmap` -> `vmemmap_restore_pte`, keeping two vmemmap pages of every huge page,
as in the patch series of 2021 and in Linux 5.14 to 5.17.
"""

from __future__ import annotations

from tests.guests.edits import Edit

_H = "mm/hugetlb_vmemmap.h"
_C = "mm/hugetlb_vmemmap.c"
_HUGETLB = "mm/hugetlb.c"

_RESTORE = r"\bint hugetlb_vmemmap_restore\(const struct hstate \*h,"
_ALLOC = "int alloc_huge_page_vmemmap(struct hstate *h,"
_OPTIMIZE = r"\bvoid hugetlb_vmemmap_optimize\(const struct hstate \*h,"
_FREE = "void free_huge_page_vmemmap(struct hstate *h,"

EDITS = (
    # The names of then; declared, and once more as the stub without HVO.
    Edit(_H, _RESTORE, _ALLOC, 2),
    Edit(_H, _OPTIMIZE, _FREE, 2),
    Edit(_C, _RESTORE, _ALLOC),
    Edit(_C, _OPTIMIZE, _FREE),
    Edit(_HUGETLB, r"\bhugetlb_vmemmap_restore\(", "alloc_huge_page_vmemmap(", 3),
    Edit(_HUGETLB, r"\bhugetlb_vmemmap_optimize\(", "free_huge_page_vmemmap("),
    # Two pages are kept, so 6 of a 2 MB page's 8 are freed, and the second is what is shared.
    Edit(_H, r"(RESERVE_SIZE\s+)PAGE_SIZE\b", r"\1(2 * PAGE_SIZE)"),
    Edit(
        _C,
        r"\tvmemmap_reuse\t= vmemmap_start;\n"
        r"(\tvmemmap_start\t\+= HUGETLB_VMEMMAP_RESERVE_SIZE;\n)",
        r"\1\tvmemmap_reuse\t= vmemmap_start - PAGE_SIZE;\n",
        2,
    ),
    # It was in a file of its own then, hence global and never inlined.
    Edit(_C, r"\bstatic (int vmemmap_remap_free\()", r"noinline \1"),
    # Called through a pointer only, yet a compiler may clone them under another name.
    Edit(_C, r"\bstatic (void vmemmap_(?:remap|restore)_pte\()", r"static noinline \1", 2),
)
