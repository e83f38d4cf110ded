# SPDX-License-Identifier: Apache-2.0
"""The census of pools that are made up, and of pools that change while they are read."""

import struct
from collections.abc import Callable, Iterator

import pytest

from probes.census.census import NodeCensus, PoolCensus, count_pools
from probes.census.facts import CensusError, CensusFacts, UnsettledError, facts_of
from probes.census.kernel_memory import KernelFaultError
from probes.kernel.btf import Btf
from tests.probes.kernel.test_btf import ARRAY, INT, Blob

POOLS, NUMBER_OF_POOLS, PAGES_TO_FREE = 0x10000, 0x9000, 0x9100
MAX_NODES = 4
FACTS = CensusFacts(
    pools=POOLS,
    number_of_pools=NUMBER_OF_POOLS,
    hstate_bytes=256,
    order=4,
    nr_huge_pages_node=16,
    active_list=64,
    free_lists=80,
    max_nodes=MAX_NODES,
    net_frames=None,
    reserved_page=True,
    resize_lock=208,
    pages_to_free=PAGES_TO_FREE,
    page_bytes=64,
    flags=0,
    link=8,
    private=40,
    optimized_bit=4,
)
OPTIMIZED, OTHER_FLAGS = 1 << 4, 0b101


def page(node: int, *, optimized: bool = True) -> bytes:
    """A struct page of that node: two bits of the flags are enough for four nodes."""
    element = bytearray(64)
    struct.pack_into("=Q", element, 0, node << 62 | 0xFFFF)
    struct.pack_into("=Q", element, 40, OTHER_FLAGS | (OPTIMIZED if optimized else 0))
    return bytes(element)


class Pool:
    """One ``hstate``: pages on its lists, and what it counts."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.lists: list[list[bytes]] = [[] for _ in range(1 + MAX_NODES)]
        self.counts = [0] * MAX_NODES
        self.lock = 0
        """Owner of the resize lock."""

    def add(self, node: int, *, active: bool = False, optimized: bool = True) -> None:
        self.lists[0 if active else 1 + node].append(page(node, optimized=optimized))
        self.counts[node] += 1


class FakeMemory:
    """Pools where the kernel would have them."""

    def __init__(self, *pools: Pool) -> None:
        self.pools = pools
        self.walks = 0
        self.pages_to_free = 0
        self.between: Callable[[], None] = lambda: None
        """Happens before each walk."""

    def read(self, address: int, size: int) -> bytes:
        if address == NUMBER_OF_POOLS:
            return struct.pack("=i", len(self.pools))
        if address == PAGES_TO_FREE:
            return struct.pack("=Q", self.pages_to_free)
        pool = self.pools[(address - POOLS) // FACTS.hstate_bytes]
        hstate = bytearray(size)
        struct.pack_into("=I", hstate, FACTS.order, pool.order)
        struct.pack_into(f"={MAX_NODES}I", hstate, FACTS.nr_huge_pages_node, *pool.counts)
        struct.pack_into("=I", hstate, 200, 6)
        struct.pack_into("=Q", hstate, 208, pool.lock)
        return bytes(hstate)

    def walk(self, head: int) -> Iterator[bytes]:
        self.walks += 1
        self.between()
        number, offset = divmod(head - POOLS, FACTS.hstate_bytes)
        pages = self.pools[number].lists[(offset - FACTS.active_list) // 16]
        yield from (b"".join(pages[at : at + 2]) for at in range(0, len(pages), 2))


def filled() -> FakeMemory:
    """23 pages of 2 MB on node 0 (5 in use, 3 not optimized), 1 of 1 GB on node 3."""
    small, large = Pool(9), Pool(18)
    for number in range(23):
        small.add(0, active=number < 5, optimized=number >= 3)
    large.add(3)
    return FakeMemory(large, small)


def test_every_page_is_counted_by_size_and_node() -> None:
    assert count_pools(filled(), FACTS, 4096) == [
        PoolCensus(9, 7, (NodeCensus(0, 23, 20),)),
        PoolCensus(18, 4095, (NodeCensus(3, 1, 1),)),
    ]


def test_an_empty_pool_has_no_node_but_what_a_page_would_save() -> None:
    pools = count_pools(FakeMemory(Pool(9), Pool(18)), FACTS, 4096)
    assert pools == [PoolCensus(9, 7, ()), PoolCensus(18, 4095, ())]


def test_the_kernels_own_member_says_what_a_page_saves() -> None:
    facts = CensusFacts(**{**vars(FACTS), "net_frames": 200})
    assert {row.net_frames for row in count_pools(filled(), facts, 4096)} == {6}


def test_a_struct_page_of_56_bytes_saves_nothing() -> None:
    facts = CensusFacts(**{**vars(FACTS), "page_bytes": 56})
    memory = FakeMemory(Pool(9))
    assert count_pools(memory, facts, 4096) == [PoolCensus(9, 0, ())]
    pool = memory.pools[0]
    pool.add(0)
    pool.lists[1] = [pool.lists[1][0][:56]]
    assert count_pools(memory, facts, 4096)[0].net_frames == 0


def test_a_size_with_one_vmemmap_page_saves_nothing() -> None:
    pool = Pool(4)  # 64 KB
    pool.add(1)
    expected = [PoolCensus(4, 0, (NodeCensus(1, 1, 1),))]
    assert count_pools(FakeMemory(pool), FACTS, 4096) == expected


def test_two_reserved_pages_without_a_member_that_says_so_are_not_known() -> None:
    facts = CensusFacts(**{**vars(FACTS), "reserved_page": False})
    assert {pool.net_frames for pool in count_pools(filled(), facts, 4096)} == {None}


def test_a_pool_that_is_being_resized_has_no_census() -> None:
    memory = filled()
    memory.pools[1].lock = 0xFFFF8880_00000001
    with pytest.raises(UnsettledError, match="the pool of order 9 is being resized"):
        count_pools(memory, FACTS, 4096)


def test_a_pool_whose_resizing_began_while_it_was_read_has_no_census() -> None:
    memory = filled()

    def resize() -> None:
        memory.pools[1].lock = 1

    memory.between = resize
    with pytest.raises(UnsettledError, match="being resized"):
        count_pools(memory, FACTS, 4096)


def test_surplus_pages_that_wait_to_be_freed_prevent_a_census() -> None:
    memory = filled()
    memory.pages_to_free = 0xFFFF8880_00000040
    with pytest.raises(UnsettledError, match="surplus pages wait to be freed"):
        count_pools(memory, FACTS, 4096)


def test_a_pool_that_changed_once_is_read_again() -> None:
    memory = filled()
    small = memory.pools[1]

    def grow_once() -> None:
        if memory.walks == 3:
            small.add(0)

    memory.between = grow_once
    rows = count_pools(memory, FACTS, 4096)
    assert rows[0] == PoolCensus(9, 7, (NodeCensus(0, 24, 21),))
    assert memory.walks > 4


def test_a_pool_that_never_rests_is_an_error_and_no_number() -> None:
    memory = filled()
    memory.between = lambda: memory.pools[1].add(0)
    with pytest.raises(CensusError, match="the pools changed each of 10 times"):
        count_pools(memory, FACTS, 4096)


def test_a_page_on_no_list_is_an_error() -> None:
    memory = filled()
    memory.pools[1].counts[0] += 1  # as while it is migrated
    with pytest.raises(CensusError, match="23 pages of order 9 on lists, 24 counted"):
        count_pools(memory, FACTS, 4096)


def test_a_page_of_another_node_than_the_pools_is_an_error() -> None:
    memory = filled()
    memory.pools[1].counts = [22, 1, 0, 0]
    with pytest.raises(CensusError, match="on lists"):
        count_pools(memory, FACTS, 4096)


def test_a_list_that_leads_elsewhere_ends() -> None:
    memory = filled()

    def endless(_head: int) -> Iterator[bytes]:
        while True:
            yield page(0)

    setattr(memory, "walk", endless)  # noqa: B010 - a list without an end
    with pytest.raises(CensusError, match="more than 1 pages of order 18"):
        count_pools(memory, FACTS, 4096)


def test_a_fault_is_a_change() -> None:
    memory = filled()
    faults = iter([KernelFaultError("kernel memory at 0xdead000000000100 can't be read")])

    def fault_once() -> None:
        for fault in faults:
            raise fault

    memory.between = fault_once
    assert len(count_pools(memory, FACTS, 4096)) == 2


SYMBOLS = {
    "hstates": POOLS,
    "hugetlb_max_hstate": NUMBER_OF_POOLS,
    "hpage_freelist": PAGES_TO_FREE,
}


def described(*left_out: str, net_frames: str = "") -> Btf:
    """BTF of a kernel, without some of its members."""
    blob = Blob()
    blob.add(INT, "unsigned int", 4, bytes(4))  # 1
    blob.add(ARRAY, "", 0, struct.pack("<III", 1, 1, MAX_NODES))  # 2
    hstate = [
        ("order", 1, 4),
        ("nr_huge_pages_node", 2, 16),
        ("hugepage_activelist", 1, 64),
        ("hugepage_freelists", 1, 80),
        ("resize_lock", 1, 200),
        *([(net_frames, 1, 200)] if net_frames else []),
    ]
    members = [("flags", 1, 0), ("lru", 1, 8), ("private", 1, 40)]
    blob.struct("hstate", 256, *(m for m in hstate if m[0] not in left_out))
    blob.struct("mutex", 32, ("owner", 1, 8))
    blob.struct("page", 64, *(m for m in members if m[0] not in left_out))
    names = ("HPG_restore_reserve", "HPG_vmemmap_optimized")
    kept = [
        (name, value) for name, value in zip(names, (0, 4), strict=True) if name not in left_out
    ]
    tail = b"".join(struct.pack("<II", blob.name(name), value) for name, value in kept)
    blob.add(6, "hugetlb_page_flags", 4, tail, len(kept))
    return Btf(blob.bytes())


def test_facts_come_from_btf_and_symbols() -> None:
    assert facts_of(described(), SYMBOLS) == FACTS
    assert facts_of(described("resize_lock"), SYMBOLS).resize_lock is None
    assert facts_of(described(), {**SYMBOLS, "hpage_freelist": 0}).pages_to_free is None
    assert not facts_of(described(), {**SYMBOLS, "free_huge_page_vmemmap": 1}).reserved_page
    for name in ("nr_free_vmemmap_pages", "optimize_vmemmap_pages"):
        assert facts_of(described(net_frames=name), SYMBOLS).net_frames == 200


@pytest.mark.parametrize(
    ("left_out", "says"),
    [
        ("HPG_vmemmap_optimized", "BTF does not describe 'HPG_vmemmap_optimized'"),
        ("hugepage_activelist", "BTF does not describe 'hstate.hugepage_activelist'"),
        ("private", "BTF does not describe 'page.private'"),
    ],
)
def test_a_kernel_that_lacks_something_is_one_line(left_out: str, says: str) -> None:
    with pytest.raises(CensusError, match=says):
        facts_of(described(left_out), SYMBOLS)


def test_a_kernel_without_btf_or_with_hidden_symbols_is_one_line() -> None:
    with pytest.raises(CensusError, match="has no BTF"):
        facts_of(None, SYMBOLS)
    with pytest.raises(CensusError, match="address of hugetlb_max_hstate is hidden: run as root"):
        facts_of(described(), {**SYMBOLS, "hugetlb_max_hstate": 0})
    with pytest.raises(CensusError, match=r"lacks hstates \(CONFIG_KALLSYMS_ALL\)"):
        facts_of(described(), {"hugetlb_max_hstate": NUMBER_OF_POOLS})
