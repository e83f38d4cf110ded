# SPDX-License-Identifier: Apache-2.0
"""The check of the accounting finds its faults."""

from collections.abc import Callable

import pytest

from sim_backend.kernel.errors import ConservationError
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import PAGE_KERNEL, mk_pte
from tests.sim_backend.harness import Traced

START = 0xFFFFEA0000000000


def lose_a_frame(m: Machine) -> None:
    m.memory.alloc_pages(0, 0)


def lose_a_boot_frame(m: Machine) -> None:
    m.init_mm.virt_to_kpte(START).set(0)


def forget_a_boot_frame(m: Machine) -> None:
    m.nr_memmap_boot_pages -= 1


def make_up_a_runtime_frame(m: Machine) -> None:
    m.nr_memmap_pages += 1


def map_a_free_frame(m: Machine) -> None:
    pfn = m.memory.alloc_pages(0, 0)
    assert pfn is not None
    m.memory.free_pages(pfn, 0)
    m.init_mm.virt_to_kpte(START).set(mk_pte(pfn, PAGE_KERNEL))
    m.nr_memmap_boot_pages -= 1
    m.nr_memmap_pages += 1
    m.memory.nodes[0].managed_pages += 1


def free_a_frame_twice(m: Machine) -> None:
    pfn = m.memory.alloc_pages(0, 9)
    assert pfn is not None
    m.memory.free_pages(pfn, 9)
    m.memory.free_pages(pfn, 9)


def miscount_free_frames(m: Machine) -> None:
    m.memory.nodes[0].buddy.nr_free += 1
    m.memory.alloc_pages(0, 0)


def miscount_memtotal(m: Machine) -> None:
    m.memory.nodes[0].managed_pages += 1


def miscount_a_pool(m: Machine) -> None:
    m.hstates[0].free_huge_pages_node[0] += 1


def lose_a_huge_page(m: Machine) -> None:
    m.hstates[0].nr_huge_pages_node[0] -= 1


def miss_an_event(m: Machine) -> None:
    m.trace.net_freed_frames -= 6


def keep_a_used_frame_free(m: Machine) -> None:
    """One frame is mapped and free, another is lost: the sums alone don't show it."""
    run = m.memory.nodes[0].buddy.alloc(1)
    assert run is not None
    mapped = m.init_mm.translate(START).pfn
    m.memory.free_pages(mapped, 0)
    m.memory.free_pages(run, 0)


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lose_a_frame, "frames in use and free"),
        (lose_a_boot_frame, "boot frames that vmemmap is mapped to"),
        (forget_a_boot_frame, "boot frames that vmemmap is mapped to"),
        (make_up_a_runtime_frame, "other frames that vmemmap is mapped to"),
        (map_a_free_frame, "is mapped and free"),
        (free_a_frame_twice, "in use and free"),
        (miscount_free_frames, "free frames in the buddy allocator"),
        (miscount_memtotal, "MemTotal"),
        (miscount_a_pool, "free huge pages of order 9"),
        (lose_a_huge_page, "frames in use and free"),
        (miss_an_event, "frames freed less allocated by events"),
        (keep_a_used_frame_free, "is mapped and free"),
    ],
)
def test_damage_is_found(damage: Callable[[Machine], None], finding: str) -> None:
    traced = Traced("v17-enabled").run("grow 2MB 1")
    damage(traced.kernel.machine)
    with pytest.raises(ConservationError, match=finding):
        traced.kernel.check_conservation()


def test_a_fresh_machine_accounts_for_every_frame() -> None:
    accounts = Traced("5.14").kernel.accounts()
    assert accounts.total == 262_144
    assert accounts.memmap == accounts.nr_memmap_boot_pages == 4096
    assert accounts.page_tables == 2
    assert accounts.free == accounts.mem_total == 262_144 - 4096 - 2
    assert (accounts.hugetlb, accounts.held, accounts.vmemmap_tails) == (0, 0, 0)
