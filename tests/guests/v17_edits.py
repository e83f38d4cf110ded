# SPDX-License-Identifier: Apache-2.0
"""Turns Debian's Linux 5.10 into a kernel with patch v17 3/9, whose added lines come from the mail.

The rest of that series which a kernel needs to run with it is written here: the feature is enabled
(3/9 returns zero), and vmemmap consists of base pages (2/9). Patch 4/9 is not in it: such a kernel
never restores, so its pool can only grow.
"""

from __future__ import annotations

from pathlib import Path

from tests.guests.edits import Edit
from tests.guests.mail import added_blocks

MAIL = Path(__file__).parent / "data/patch-v17-3of9.txt"

_BOOTMEM_H = "include/linux/bootmem_info.h"
_C = "mm/hugetlb_vmemmap.c"
_H = "mm/hugetlb_vmemmap.h"
_HUGETLB = "mm/hugetlb.c"
_INIT = "arch/x86/mm/init_64.c"
_MAKEFILE = "mm/Makefile"
_MM_H = "include/linux/mm.h"
_SPARSE = "mm/sparse-vmemmap.c"

_ADDED = added_blocks(MAIL.read_text())


def _bootmem_info() -> str:
    """The header that v17 1/9 splits from linux/memory_hotplug.h, with what 3/9 adds to it."""
    mm_h, free, stub = _ADDED[_BOOTMEM_H]
    return (
        "/* SPDX-License-Identifier: GPL-2.0 */\n"
        "#ifndef __LINUX_BOOTMEM_INFO_H\n#define __LINUX_BOOTMEM_INFO_H\n"
        f"#include <linux/memory_hotplug.h>\n{mm_h}"
        f"#ifdef CONFIG_HAVE_BOOTMEM_INFO_NODE\n{free}#else\n{stub}#endif\n"
        "#endif\n"
    )


def _insert(file: str, at: str, block: int) -> Edit:
    """Put a block of the mail where the regular expression ``at`` matches nothing, once."""
    return Edit(file, rf"(?m){at}", _ADDED[file][block].replace("\\", r"\\"))


FILES = {
    _BOOTMEM_H: _bootmem_info(),
    _C: "".join(_ADDED[_C]),
    _H: "".join(_ADDED[_H]),
}
"""New in the tree; what is not there yet cannot be edited."""

EDITS = (
    _insert(_MM_H, r"^(?=void \*sparse_buffer_alloc\()", 0),
    _insert(_MAKEFILE, r"^(?=obj-\$\(CONFIG_NUMA\)\s*\+= mempolicy\.o$)", 0),
    _insert(_HUGETLB, r'(?<=^#include "internal\.h"\n)', 0),
    _insert(
        _HUGETLB,
        r"(?<=^static void prep_new_huge_page\("
        r"struct hstate \*h, struct page \*page, int nid\)\n{\n)",
        1,
    ),
    _insert(_SPARSE, r"^(?=#include <asm/dma\.h>$)", 0),
    _insert(_SPARSE, r"(?<=^#include <asm/pgalloc\.h>\n)", 1),
    # Enabled, as 9/9 does: two of a huge page's vmemmap pages are kept.
    Edit(
        _C,
        r"(?m)^ *return 0;$",
        "return pages_per_huge_page(h) * sizeof(struct page) / PAGE_SIZE - RESERVE_VMEMMAP_NR;",
    ),
    Edit(
        "fs/Kconfig",
        r"(?m)^(?=config HUGETLB_PAGE$)",
        "config HUGETLB_PAGE_FREE_VMEMMAP\n"
        "\tdef_bool HUGETLBFS\n"
        "\tdepends on X86_64 && SPARSEMEM_VMEMMAP && HAVE_BOOTMEM_INFO_NODE\n\n",
    ),
    # v17 cannot split a PMD. Each page of vmemmap is then registered by its own PTE, and is the
    # boot allocator's to free.
    Edit(_INIT, r"if \((?=end - start < PAGES_PER_SECTION \*)", "if (!altmap || "),
    Edit(_INIT, r"if \(!boot_cpu_has\(X86_FEATURE_PSE\)\) \{", "if (true) {"),
)
