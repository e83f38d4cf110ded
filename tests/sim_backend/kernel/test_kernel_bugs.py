# SPDX-License-Identifier: Apache-2.0
"""Each BUG_ON of patch v17, provoked the way the kernel would run into it."""

import re
from contextlib import AbstractContextManager

import pytest

from sim_backend.kernel.errors import KernelBug
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import __free_page, alloc_pages_node, free_bootmem_page
from sim_backend.kernel.hugetlb import add_hugetlb_page
from sim_backend.kernel.hugetlb_vmemmap import free_huge_page_vmemmap
from sim_backend.kernel.pagetable import NONE, PAGE_KERNEL, PAGE_PSE, mk_pte
from sim_backend.kernel.sparse_vmemmap import (
    VmemmapRemapWalk,
    vmemmap_remap_alloc,
    vmemmap_remap_free,
    vmemmap_remap_pte,
    vmemmap_remap_range,
)
from tests.sim_backend.harness import Traced

PAGE = 4096
START = 0xFFFFEA0000000000


@pytest.fixture
def traced() -> Traced:
    return Traced("v17-enabled")


def dies(condition: str) -> AbstractContextManager[pytest.ExceptionInfo[KernelBug]]:
    return pytest.raises(KernelBug, match=re.escape(condition))


def remap(traced: Traced) -> None:
    vmemmap_remap_free(traced.kernel.machine, START + 2 * PAGE, START + 8 * PAGE, START + PAGE)


def test_no_pgd(traced: Traced) -> None:
    traced.kernel.machine.init_mm.pgd_offset_k(START).set(NONE)
    with dies("BUG_ON(pgd_none(*pgd))"):
        remap(traced)


def test_no_p4d(traced: Traced) -> None:
    mm = traced.kernel.machine.init_mm
    mm.p4d_offset(mm.pgd_offset_k(START), START).set(NONE)
    with dies("BUG_ON(p4d_none(*p4d))"):
        remap(traced)


def test_no_pud(traced: Traced) -> None:
    mm = traced.kernel.machine.init_mm
    mm.pud_offset(mm.p4d_offset(mm.pgd_offset_k(START), START), START).set(NONE)
    with dies("BUG_ON(pud_none(*pud))"):
        remap(traced)


@pytest.mark.parametrize("entry", [NONE, mk_pte(512, PAGE_KERNEL | PAGE_PSE)])
def test_no_pmd_or_a_huge_one(traced: Traced, entry: int) -> None:
    traced.kernel.machine.init_mm.pmd_off_k(START).set(entry)
    with dies("BUG_ON(pmd_none(*pmd) || pmd_leaf(*pmd))"):
        remap(traced)


@pytest.mark.parametrize("hole", [1, 5], ids=["the one to reuse", "one to remap"])
def test_no_pte(traced: Traced, hole: int) -> None:
    traced.kernel.machine.init_mm.virt_to_kpte(START + hole * PAGE).set(NONE)
    with dies("BUG_ON(pte_none(*pte))"):
        remap(traced)


def test_reuse_address_is_not_the_first(traced: Traced) -> None:
    walk = VmemmapRemapWalk(vmemmap_remap_pte, FrameList(), reuse_addr=START + 2 * PAGE)
    with dies("BUG_ON(walk->reuse_addr != addr)"):
        vmemmap_remap_range(traced.kernel.machine, START + PAGE, START + 8 * PAGE, walk)


@pytest.mark.parametrize(
    ("start", "end", "condition"),
    [
        (64, 8 * PAGE, "VM_BUG_ON(!IS_ALIGNED(start, PAGE_SIZE))"),
        (0, 8 * PAGE - 64, "VM_BUG_ON(!IS_ALIGNED(end, PAGE_SIZE))"),
    ],
)
def test_unaligned_range(traced: Traced, start: int, end: int, condition: str) -> None:
    walk = VmemmapRemapWalk(vmemmap_remap_pte, FrameList(), reuse_addr=START + start)
    with dies(condition):
        vmemmap_remap_range(traced.kernel.machine, START + start, START + end, walk)


def test_start_does_not_follow_reuse(traced: Traced) -> None:
    machine = traced.kernel.machine
    with dies("BUG_ON(start - reuse != PAGE_SIZE)"):
        vmemmap_remap_free(machine, START + 2 * PAGE, START + 8 * PAGE, START)
    with dies("BUG_ON(start - reuse != PAGE_SIZE)"):
        vmemmap_remap_alloc(machine, START + 2 * PAGE, START + 8 * PAGE, START, flush=True)


def test_restoring_what_does_not_share(traced: Traced) -> None:
    with dies("BUG_ON(pte_page(*pte) != walk->reuse_page)"):
        vmemmap_remap_alloc(
            traced.kernel.machine, START + 2 * PAGE, START + 8 * PAGE, START + PAGE, flush=True
        )


def test_boot_frame_with_another_reference(traced: Traced) -> None:
    memory = traced.kernel.machine.memory
    page = memory.pfn_to_page(traced.kernel.machine.init_mm.translate(START).pfn)
    page.refcount = 3
    with dies("VM_BUG_ON_PAGE(page_ref_count(page) != 2, page)"):
        free_bootmem_page(memory, page)


def test_boot_frame_of_unknown_use(traced: Traced) -> None:
    memory = traced.kernel.machine.memory
    page = memory.pfn_to_page(traced.kernel.machine.init_mm.translate(START).pfn)
    page.freelist = 14  # NODE_INFO
    with dies("VM_BUG_ON_PAGE(1, page)"):
        free_bootmem_page(memory, page)


def test_freeing_a_frame_twice(traced: Traced) -> None:
    memory = traced.kernel.machine.memory
    page = alloc_pages_node(memory, 0, this_node=True)
    assert page is not None
    __free_page(memory, page)
    with dies("VM_BUG_ON_PAGE(page_ref_count(page) == 0, page)"):
        __free_page(memory, page)


def test_the_seed_optimises_twice_and_frees_the_shared_frame_twice(traced: Traced) -> None:
    traced.run("grow 2MB 1")
    machine = traced.kernel.machine
    with dies("page_ref_count(page) == 0"):
        free_huge_page_vmemmap(machine, machine.hstates[0], traced.pages()[0])


def test_a_page_that_could_be_freed_comes_back(traced: Traced) -> None:
    traced.run("hvo off", "grow 2MB 1")
    (page,) = traced.pages()
    with dies("VM_BUG_ON_PAGE(!HPageVmemmapOptimized(page), page)"):
        add_hugetlb_page(traced.kernel.machine.hstates[0], page, adjust_surplus=True)


def test_remapping_to_no_frame(traced: Traced) -> None:
    machine = traced.kernel.machine
    walk = VmemmapRemapWalk(vmemmap_remap_pte, FrameList())
    with dies("NULL pointer dereference"):
        vmemmap_remap_pte(machine, machine.init_mm.virt_to_kpte(START), START, walk)
