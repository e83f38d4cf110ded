# SPDX-License-Identifier: Apache-2.0
"""What a simulated machine is made of."""

from collections.abc import Collection, Iterator, Sequence

from probes.geometry import Geometry
from probes.observation import Pool
from sim_backend.kernel.frames import Memory
from sim_backend.kernel.generation import Generation, SelfHosted
from sim_backend.kernel.hstate import Hstate

_MAX_ORDER = 10
"""Largest order of a real buddy allocator with 4K pages; more where a pmd maps more."""


def self_hosted_nodes(generation: Generation, nodes: Collection[int], count: int) -> frozenset[int]:
    """Nodes whose memory holds its own struct pages; ``ValueError`` where that can't be."""
    if nodes and generation.self_hosted is SelfHosted.EXCLUDED:
        raise ValueError(f"kernel {generation.name} has no memmap_on_memory beside HVO")
    if not set(nodes) <= set(range(count)):
        raise ValueError(f"self-hosted memory on nodes {sorted(nodes)} of {count}")
    return frozenset(nodes)


def _pmd_order(geometry: Geometry) -> int:
    """Page order of what one pmd entry maps."""
    return geometry.ptes_per_table.bit_length() - 1


def make_hstates(geometry: Geometry, sizes: Sequence[int], nodes: int) -> tuple[Hstate, ...]:
    """Empty pools of these sizes in bytes, largest first. Raises ``ValueError``."""
    if not sizes or len(set(sizes)) != len(sizes):
        raise ValueError("a kernel has at least one huge page size, and each only once")
    # A pmd-sized page is never gigantic: ARCH_FORCE_MAX_ORDER grows with the page size (arm64).
    buddy_order = max(_MAX_ORDER, _pmd_order(geometry))
    orders = {size: geometry.order(size) for size in sorted(sizes, reverse=True)}
    if min(orders.values()) == 0:
        raise ValueError("a huge page is larger than a base page")
    return tuple(Hstate(size, order, order > buddy_order, nodes) for size, order in orders.items())


def make_memory(
    geometry: Geometry, nodes: int, memory_per_node: int, hstates: Sequence[Hstate]
) -> Memory:
    """Nodes of so many bytes each."""
    return Memory(
        nodes,
        memory_per_node // geometry.page_size,
        max_order=max(_MAX_ORDER, *(h.order for h in hstates)),
        pageblock_order=_pmd_order(geometry),
    )


def pool_counts(h: Hstate) -> Iterator[Pool]:
    """Huge pages of one size by node and state."""
    for nid in range(h.nodes):
        yield Pool(h.size, nid, "total", h.nr_huge_pages_node[nid])
        yield Pool(h.size, nid, "free", h.free_huge_pages_node[nid])
        yield Pool(h.size, nid, "surplus", h.surplus_huge_pages_node[nid])
