# SPDX-License-Identifier: Apache-2.0
"""The text of the BPF program for one kernel: fixed C, behind definitions made from its BTF."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from probes.geometry import Geometry
from probes.live.btf import Btf
from probes.live.layout import Layout
from probes.live.plan import Candidate

STREAM_PAGES = 256
"""Ring buffer of the event stream, in pages; a power of two. 1 MiB holds about 10,000 records."""


@dataclass(frozen=True)
class KernelFacts:
    """Where the kernel keeps what the program looks at; offsets and sizes in bytes."""

    hstate_order: int
    page_flags: int
    struct_page_size: int
    nodes_shift: int
    walk_reuse_addr: int
    """-1 where struct vmemmap_remap_walk has no such member (Linux 7.1 and later)."""


def kernel_facts(btf: Btf) -> KernelFacts:
    """Read the facts from BTF. Raises ``KeyError`` naming the struct or member that is missing."""
    try:
        reuse_addr = btf.offset("vmemmap_remap_walk", "reuse_addr")
    except KeyError:
        reuse_addr = -1
    # MAX_NUMNODES is no type, but this array of hstate has that many elements (1 << NODES_SHIFT).
    max_nodes = btf.length("hstate", "nr_huge_pages_node")
    return KernelFacts(
        hstate_order=btf.offset("hstate", "order"),
        page_flags=btf.offset("page", "flags"),
        struct_page_size=btf.size("page"),
        nodes_shift=max_nodes.bit_length() - 1,
        walk_reuse_addr=reuse_addr,
    )


def source(
    facts: KernelFacts,
    layout: Layout,
    page_size: int,
    plan: Mapping[str, Candidate | None],
    *,
    switch: int,
    stream: bool,
) -> str:
    """Return the C text for BCC. ``switch`` is the address of the kernel's switch, or 0."""
    range_hook, optimize = plan["remap_range"], plan["optimize"]
    definitions = {
        "HVO_PAGE_SIZE": page_size,
        "HVO_STRUCT_PAGE_SIZE": facts.struct_page_size,
        "HVO_HSTATE_ORDER": facts.hstate_order,
        "HVO_PAGE_FLAGS": facts.page_flags,
        "HVO_WALK_REUSE_ADDR": facts.walk_reuse_addr,
        "HVO_NODES_SHIFT": facts.nodes_shift,
        "HVO_SWITCH": f"{switch:#x}ULL",
        "HVO_RANGE_HAS_WALK": int(range_hook is not None and range_hook.has_walk),
        "HVO_OPTIMIZE_RETURNS": int(optimize is not None and optimize.returns_errno),
        "HVO_STREAM": int(stream),
        "HVO_STREAM_PAGES": STREAM_PAGES,
    }
    # One reserved page is the rule from 5.18 on; which sizes can be optimised is the same for two.
    geometry = Geometry(page_size, facts.struct_page_size, reserved_pages=1)
    folder = files("probes.live.bpf")
    return "\n".join(
        (
            (folder / "hvo_event.h").read_text(),
            *(f"#define {name} ({value})" for name, value in definitions.items()),
            layout.declare(geometry),
            (folder / "hvo.bpf.c").read_text(),
        )
    )
