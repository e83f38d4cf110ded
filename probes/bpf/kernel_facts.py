# SPDX-License-Identifier: Apache-2.0
"""Offsets and sizes that the BPF program needs, from the kernel's BTF or from its headers.

BTF is preferred, because it describes the running kernel. Without BTF, the compiler takes them from
the kernel headers that BCC compiles against, as far as these describe them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.backend import RANGE
from probes.kernel.btf import Btf

_WALK = "vmemmap_remap_walk"
_UNKNOWN = -1


class FactsError(Exception):
    """A needed struct or member is not described; one line that names it and the fix."""


@dataclass(frozen=True)
class KernelFacts:
    """Offsets and sizes in bytes, as numbers or as C expressions that the compiler evaluates."""

    hstate_order: int | str
    page_flags: int | str
    struct_page_size: int | str
    nodes_shift: int | str
    """Bits of the node number in page->flags."""
    walk_nr_walked: int = _UNKNOWN
    """Offset in struct vmemmap_remap_walk; -1 if it has no such member or is not described."""
    walk_head: int = _UNKNOWN
    """Offset of walk->vmemmap_head (Linux 7.1, stable 6.12) or walk->reuse_page; -1 as above."""
    walk_skips: bool = False
    """The walk has reuse_page: if it is NULL, the walk takes it from its first PTE and skips it."""
    walk_reuse_addr: int = _UNKNOWN
    """Offset of walk->reuse_addr; -1 as above."""
    includes: str = ""
    """C text that must precede the expressions."""

    def definitions(self) -> Mapping[str, int | str]:
        """Macros of the fixed C source, name -> value."""
        return {
            "HVO_STRUCT_PAGE_SIZE": self.struct_page_size,
            "HVO_HSTATE_ORDER": self.hstate_order,
            "HVO_PAGE_FLAGS": self.page_flags,
            "HVO_NODES_SHIFT": self.nodes_shift,
            "HVO_WALK_NR_WALKED": self.walk_nr_walked,
            "HVO_WALK_HEAD": self.walk_head,
            "HVO_WALK_SKIPS": int(self.walk_skips),
            "HVO_WALK_REUSE_ADDR": self.walk_reuse_addr,
        }


def from_btf(btf: Btf, mode: str) -> KernelFacts:
    """Read the facts from BTF. Raises ``FactsError`` if a member that ``mode`` needs is missing.

    ``range`` mode reads the walk's own count, which patch v17 3/9 does not have.
    """
    skips = btf.has(_WALK, "reuse_page")
    head = "reuse_page" if skips else "vmemmap_head"
    optional = {name: _offset(btf, _WALK, name) for name in ("nr_walked", head, "reuse_addr")}
    if mode == RANGE:
        for name in ("nr_walked", head):
            if optional[name] == _UNKNOWN:
                raise FactsError(
                    f"range mode reads {_WALK}.{name}, which this kernel's BTF does not "
                    "describe: use --probe.mode full"
                )
    try:
        # BTF has no macros; this array of hstate has MAX_NUMNODES (1 << NODES_SHIFT) elements.
        max_nodes = btf.length("hstate", "nr_huge_pages_node")
        return KernelFacts(
            hstate_order=btf.offset("hstate", "order"),
            page_flags=btf.offset("page", "flags"),
            struct_page_size=btf.size("page"),
            nodes_shift=max_nodes.bit_length() - 1,
            walk_nr_walked=optional["nr_walked"],
            walk_head=optional[head],
            walk_skips=skips,
            walk_reuse_addr=optional["reuse_addr"],
        )
    except KeyError as error:
        raise FactsError(
            f"the kernel's BTF does not describe {error}: report this kernel to hvoscope"
        ) from error


def from_headers(build: str, mode: str) -> KernelFacts:
    """Return C expressions that use the kernel headers. Raises ``FactsError`` for ``range`` mode.

    No header has struct vmemmap_remap_walk. ``build`` (release and version as of uname) makes the
    source specific to this kernel, because the offsets in other kernels' headers may differ.
    """
    if mode == RANGE:
        raise FactsError(
            f"range mode reads struct {_WALK}, which only BTF describes, and this kernel has no "
            "BTF: use --probe.mode full"
        )
    return KernelFacts(
        hstate_order="__builtin_offsetof(struct hstate, order)",
        page_flags="__builtin_offsetof(struct page, flags)",
        struct_page_size="sizeof(struct page)",
        nodes_shift="NODES_SHIFT",
        includes=f"/* From the headers of {build}. */\n"
        "#include <linux/numa.h>\n#include <linux/mm_types.h>\n#include <linux/hugetlb.h>\n",
    )


def _offset(btf: Btf, struct: str, member: str) -> int:
    return btf.offset(struct, member) if btf.has(struct, member) else _UNKNOWN
