# SPDX-License-Identifier: Apache-2.0
"""Where the kernel keeps what the program looks at: from its BTF, or from its headers.

BTF is the kernel's own word. A kernel without it still has the headers that BCC compiles against:
those are then asked by the compiler, for all that they describe.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.backend import RANGE
from probes.kernel.btf import Btf

_WALK = "vmemmap_remap_walk"
_UNKNOWN = -1


class FactsError(Exception):
    """The kernel does not describe what is needed; one line that names the member and the fix."""


@dataclass(frozen=True)
class KernelFacts:
    """Numbers, or C expressions that the compiler works out; offsets and sizes in bytes."""

    hstate_order: int | str
    page_flags: int | str
    struct_page_size: int | str
    nodes_shift: int | str
    """Bits of the node's number in page->flags."""
    walk_nr_walked: int = _UNKNOWN
    """-1 where struct vmemmap_remap_walk has no such member, or is not described; so below."""
    walk_head: int = _UNKNOWN
    """Of walk->vmemmap_head, or of walk->reuse_page before it (Linux 7.1, stable 6.12)."""
    walk_skips: bool = False
    """With reuse_page, a walk that has none takes it from its first PTE and skips that."""
    walk_reuse_addr: int = _UNKNOWN
    includes: str = ""
    """C text that the expressions need before them."""

    def definitions(self) -> Mapping[str, int | str]:
        """Name -> value of the macros that the fixed C asks for."""
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
    """Read the facts. Raises ``FactsError`` for a struct or member that ``mode`` can't do without.

    ``range`` counts by the walk's own numbers, which patch v17 3/9 does not keep.
    """
    skips = btf.has(_WALK, "reuse_page")
    head = "reuse_page" if skips else "vmemmap_head"
    optional = {name: _offset(btf, _WALK, name) for name in ("nr_walked", head, "reuse_addr")}
    if mode == RANGE:
        for name in ("nr_walked", head):
            if optional[name] == _UNKNOWN:
                raise FactsError(
                    f"range mode counts by {_WALK}.{name}, which this kernel's BTF does not "
                    "describe: use --probe.mode full"
                )
    try:
        # BTF has no macros: this array of hstate has MAX_NUMNODES elements
        # (1 << NODES_SHIFT).
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
    """Have the compiler read them. Raises ``FactsError`` for ``range`` mode.

    struct vmemmap_remap_walk is in no header. ``build`` (release and version, as uname has them)
    makes the text this kernel's own: another one's headers can have other offsets.
    """
    if mode == RANGE:
        raise FactsError(
            f"range mode counts by struct {_WALK}, which only BTF describes, and this kernel has "
            "none: use --probe.mode full"
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
