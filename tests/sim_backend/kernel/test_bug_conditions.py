# SPDX-License-Identifier: Apache-2.0
"""The BUG_ONs of patch v17 fire exactly when the conditions in the patch hold, the first one first.

A page table and its frames are damaged, each condition alone and then at random, and
``vmemmap_remap_free`` is called on it. What must come of it is worked out here from the text of
[PATCH v17 3/9], not from the simulator. Restores have conditions of their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sim_backend.kernel.errors import KernelBug
from sim_backend.kernel.frame_list import FrameList
from sim_backend.kernel.frames import MIX_SECTION_INFO, SECTION_INFO
from sim_backend.kernel.hugetlb import add_hugetlb_page, remove_pool_huge_page
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import NONE, PAGE_KERNEL, PAGE_PSE, VMEMMAP_START, mk_pte
from sim_backend.kernel.sparse_vmemmap import (
    VmemmapRemapWalk,
    vmemmap_remap_alloc,
    vmemmap_remap_free,
    vmemmap_remap_pte,
    vmemmap_remap_range,
    vmemmap_restore_pte,
    vmemmap_restore_ptes,
)
from sim_backend.kernel.vmemmap_head import vmemmap_remap_free_copying_head
from tests.sim_backend.harness import Traced

PAGE = 4096
PER_TABLE = 512
PAGES = 4096
"""Pages of vmemmap that 1 GB of memory has: eight tables."""
UPPER_LEVELS = ("pgd", "p4d", "pud")

NODE_INFO = 14
"""The third kind of bootmem info, which no frame with struct pages has."""


@dataclass
class Damage:
    """What is wrong; pages and tables are counted from the first of vmemmap."""

    reuse: int
    """Page to reuse."""
    pages: int
    """Pages to remap."""
    gap: int = 1
    """Pages from the reused one to the first to remap."""
    start_off: int = 0
    end_off: int = 0
    """Bytes that the addresses are off the boundary of a page."""
    missing_level: str = ""
    bad_tables: dict[int, int] = field(default_factory=dict)
    """PMD entries that are no table."""
    holes: set[int] = field(default_factory=set)
    """PTEs that are none."""
    refcounts: dict[int, int] = field(default_factory=dict)
    magics: dict[int, int] = field(default_factory=dict)


pages = st.integers(0, PAGES // 2 + 600)

damages = st.builds(
    Damage,
    reuse=pages,
    pages=st.one_of(st.integers(1, 16), st.integers(500, 1400)),
    gap=st.sampled_from([1] * 12 + [0, 2]),
    start_off=st.sampled_from([0] * 12 + [64]),
    end_off=st.sampled_from([0] * 12 + [-64]),
    missing_level=st.sampled_from([""] * 12 + [*UPPER_LEVELS]),
    bad_tables=st.dictionaries(
        st.integers(0, 7), st.sampled_from([NONE, mk_pte(512, PAGE_KERNEL | PAGE_PSE)]), max_size=1
    ),
    holes=st.sets(pages, max_size=2),
    refcounts=st.dictionaries(pages, st.sampled_from([1, 2, 3]), max_size=3),
    magics=st.dictionaries(
        pages, st.sampled_from([SECTION_INFO, MIX_SECTION_INFO, NODE_INFO]), max_size=3
    ),
)


def bugs(damage: Damage) -> Iterator[str]:
    """The conditions that hold, in the order in which the patch asks for them."""
    if damage.gap != 1:
        yield "BUG_ON(start - reuse != PAGE_SIZE)"
    if damage.start_off:
        yield "VM_BUG_ON(!IS_ALIGNED(start, PAGE_SIZE))"
    if damage.end_off:
        yield "VM_BUG_ON(!IS_ALIGNED(end, PAGE_SIZE))"
    if damage.missing_level:
        yield f"BUG_ON({damage.missing_level}_none(*{damage.missing_level}))"
    walked = range(damage.reuse, damage.reuse + 1 + damage.pages)
    for page in walked:
        if page // PER_TABLE in damage.bad_tables:
            yield "BUG_ON(pmd_none(*pmd) || pmd_leaf(*pmd))"
        if page in damage.holes:
            yield "BUG_ON(pte_none(*pte))"
    # list_add puts each frame in front of the one before it, so the last is freed first.
    for page in reversed(walked[1:]):
        if damage.refcounts.get(page, 2) != 2:
            yield "VM_BUG_ON_PAGE(page_ref_count(page) != 2, page)"
        if damage.magics.get(page) == NODE_INFO:
            yield "VM_BUG_ON_PAGE(1, page)"


def inflict(damage: Damage, m: Machine) -> None:
    """Do the damage: frames first, as they are found by the page table."""
    for page, count in damage.refcounts.items():
        m.memory.pfn_to_page(m.init_mm.translate(VMEMMAP_START + page * PAGE).pfn).refcount = count
    for page, magic in damage.magics.items():
        m.memory.pfn_to_page(m.init_mm.translate(VMEMMAP_START + page * PAGE).pfn).freelist = magic
    for page in damage.holes:
        m.init_mm.virt_to_kpte(VMEMMAP_START + page * PAGE).set(NONE)
    for table, entry in damage.bad_tables.items():
        m.init_mm.pmd_off_k(VMEMMAP_START + table * PER_TABLE * PAGE).set(entry)
    if damage.missing_level:
        slot = m.init_mm.pgd_offset_k(VMEMMAP_START)
        if damage.missing_level != "pgd":
            slot = m.init_mm.p4d_offset(slot, VMEMMAP_START)
        if damage.missing_level == "pud":
            slot = m.init_mm.pud_offset(slot, VMEMMAP_START)
        slot.set(NONE)


def died_of(damage: Damage, *, one_by_one: bool) -> str:
    """The condition that ``vmemmap_remap_free`` fails on; empty if it returns."""
    m = Traced("v17-enabled").kernel.machine
    m.one_by_one = one_by_one
    inflict(damage, m)
    reuse = VMEMMAP_START + damage.reuse * PAGE + damage.start_off
    start = reuse + damage.gap * PAGE
    end = VMEMMAP_START + (damage.reuse + 1 + damage.pages) * PAGE + damage.end_off
    try:
        vmemmap_remap_free(m, start, end, reuse)
    except KernelBug as bug:
        return str(bug)
    return ""


LEAF = mk_pte(512, PAGE_KERNEL | PAGE_PSE)


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize(
    ("damage", "condition"),
    [
        (Damage(1, 6), ""),
        (Damage(1, 6, gap=0), "BUG_ON(start - reuse != PAGE_SIZE)"),
        (Damage(1, 6, gap=2), "BUG_ON(start - reuse != PAGE_SIZE)"),
        (Damage(1, 6, start_off=64), "VM_BUG_ON(!IS_ALIGNED(start, PAGE_SIZE))"),
        (Damage(1, 6, start_off=1), "VM_BUG_ON(!IS_ALIGNED(start, PAGE_SIZE))"),
        (Damage(1, 6, end_off=-64), "VM_BUG_ON(!IS_ALIGNED(end, PAGE_SIZE))"),
        (Damage(1, 6, end_off=1), "VM_BUG_ON(!IS_ALIGNED(end, PAGE_SIZE))"),
        (Damage(1, 6, missing_level="pgd"), "BUG_ON(pgd_none(*pgd))"),
        (Damage(1, 6, missing_level="p4d"), "BUG_ON(p4d_none(*p4d))"),
        (Damage(1, 6, missing_level="pud"), "BUG_ON(pud_none(*pud))"),
        (Damage(1, 6, bad_tables={0: NONE}), "BUG_ON(pmd_none(*pmd) || pmd_leaf(*pmd))"),
        (Damage(1, 6, bad_tables={0: LEAF}), "BUG_ON(pmd_none(*pmd) || pmd_leaf(*pmd))"),
        (Damage(510, 6, bad_tables={1: LEAF}), "BUG_ON(pmd_none(*pmd) || pmd_leaf(*pmd))"),
        (Damage(1, 6, holes={1}), "BUG_ON(pte_none(*pte))"),
        (Damage(1, 6, holes={7}), "BUG_ON(pte_none(*pte))"),
        (Damage(1, 6, refcounts={5: 1}), "VM_BUG_ON_PAGE(page_ref_count(page) != 2, page)"),
        (Damage(1, 6, refcounts={5: 3}), "VM_BUG_ON_PAGE(page_ref_count(page) != 2, page)"),
        (Damage(1, 6, magics={5: MIX_SECTION_INFO}), ""),
        (Damage(1, 6, magics={5: NODE_INFO}), "VM_BUG_ON_PAGE(1, page)"),
    ],
)
def test_each_condition_alone(damage: Damage, condition: str, one_by_one: bool) -> None:
    assert next(bugs(damage), "") == condition
    assert died_of(damage, one_by_one=one_by_one) == condition


@settings(max_examples=300, deadline=None)
@given(damage=damages, one_by_one=st.booleans())
def test_the_kernel_dies_of_what_the_patch_says(damage: Damage, one_by_one: bool) -> None:
    bug = died_of(damage, one_by_one=one_by_one)
    event(bug or "lives")
    assert bug == next(bugs(damage), "")


def test_the_walk_must_begin_at_the_page_to_reuse() -> None:
    m = Traced("v17-enabled").kernel.machine
    walk = VmemmapRemapWalk(vmemmap_remap_pte, FrameList(), reuse_addr=VMEMMAP_START + PAGE)
    with pytest.raises(KernelBug) as bug:
        vmemmap_remap_range(m, VMEMMAP_START, VMEMMAP_START + 8 * PAGE, walk)
    assert str(bug.value) == "BUG_ON(walk->reuse_addr != addr)"


def test_huge_pmds_must_be_there_to_be_split() -> None:
    m = Traced("5.14").kernel.machine
    m.init_mm.pmd_off_k(VMEMMAP_START).set(NONE)
    with pytest.raises(KernelBug) as bug:
        vmemmap_remap_free(m, VMEMMAP_START + PAGE, VMEMMAP_START + 8 * PAGE, VMEMMAP_START)
    assert str(bug.value) == "BUG_ON(pmd_none(*pmd))"


@pytest.mark.parametrize("gap", [0, 2])
def test_a_restore_reuses_the_page_before(gap: int) -> None:
    m = Traced("v17-enabled").kernel.machine
    start, end = VMEMMAP_START + gap * PAGE, VMEMMAP_START + 8 * PAGE
    with pytest.raises(KernelBug) as bug:
        vmemmap_remap_alloc(m, start, end, VMEMMAP_START, flush=True)
    assert str(bug.value) == "BUG_ON(start - reuse != PAGE_SIZE)"


@pytest.mark.parametrize("gap", [0, 2])
def test_a_copied_head_is_that_of_the_page_before(gap: int) -> None:
    m = Traced("6.2").kernel.machine
    start, end = VMEMMAP_START + gap * PAGE, VMEMMAP_START + 8 * PAGE
    with pytest.raises(KernelBug) as bug:
        vmemmap_remap_free_copying_head(m, start, end, VMEMMAP_START, pages=FrameList(), flush=True)
    assert str(bug.value) == "BUG_ON(start - reuse != PAGE_SIZE)"


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("strangers", [1, 2])
def test_a_restore_takes_only_ptes_of_the_shared_frame(strangers: int, one_by_one: bool) -> None:
    """vmemmap_restore_pte (from 5.14): BUG_ON(pte_page(*pte) != walk->reuse_page)."""
    traced = Traced("v17-enabled").run("grow 2MB 1")
    m, (page,) = traced.kernel.machine, traced.pages()
    m.one_by_one = one_by_one
    start = m.page_to_vmemmap(page.pfn) + 2 * PAGE
    other = mk_pte(m.init_mm.translate(VMEMMAP_START).pfn, PAGE_KERNEL)
    for i in range(strangers):
        m.init_mm.virt_to_kpte(start + (3 + i) * PAGE).set(other)
    with pytest.raises(KernelBug) as bug:
        vmemmap_remap_alloc(m, start, start + 6 * PAGE, start - PAGE, flush=True)
    assert str(bug.value) == "BUG_ON(pte_page(*pte) != walk->reuse_page)"


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_walk_that_looks_for_no_page_to_reuse_has_none(one_by_one: bool) -> None:
    traced = Traced("v17-enabled").run("grow 2MB 1")
    m, (page,) = traced.kernel.machine, traced.pages()
    m.one_by_one = one_by_one
    start = m.page_to_vmemmap(page.pfn) + 2 * PAGE
    walk = VmemmapRemapWalk(vmemmap_restore_pte, FrameList(), remap_ptes=vmemmap_restore_ptes)
    with pytest.raises(KernelBug) as bug:
        vmemmap_remap_range(m, start, start + 6 * PAGE, walk)
    assert str(bug.value) == "NULL pointer dereference: walk->reuse_page"


def test_a_page_that_needs_no_restore_does_not_come_back_to_the_pool() -> None:
    """add_hugetlb_page: VM_BUG_ON_PAGE(!HPageVmemmapOptimized(page), page)."""
    traced = Traced("v17-enabled", hvo=False).run("grow 2MB 1")
    (h,) = traced.kernel.machine.hstates
    page = remove_pool_huge_page(h)
    assert page is not None
    with pytest.raises(KernelBug) as bug:
        add_hugetlb_page(h, page, adjust_surplus=True)
    assert str(bug.value) == "VM_BUG_ON_PAGE(!HPageVmemmapOptimized(page), page)"
