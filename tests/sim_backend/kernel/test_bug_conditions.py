# SPDX-License-Identifier: Apache-2.0
"""The BUG_ONs of patch v17 fire exactly when the conditions in the patch hold, the first one first.

A page table and its frames are damaged at random, and ``vmemmap_remap_free`` is called on it. What
must come of it is worked out here from the text of [PATCH v17 3/9], not from the simulator.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import event, given, settings
from hypothesis import strategies as st

from sim_backend.kernel.errors import KernelBug
from sim_backend.kernel.frames import MIX_SECTION_INFO, SECTION_INFO
from sim_backend.kernel.machine import Machine
from sim_backend.kernel.pagetable import NONE, PAGE_KERNEL, PAGE_PSE, VMEMMAP_START, mk_pte
from sim_backend.kernel.sparse_vmemmap import vmemmap_remap_free
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


@settings(max_examples=300, deadline=None)
@given(damage=damages, one_by_one=st.booleans())
def test_the_kernel_dies_of_what_the_patch_says(damage: Damage, one_by_one: bool) -> None:
    m = Traced("v17-enabled").kernel.machine
    m.one_by_one = one_by_one
    inflict(damage, m)
    reuse = VMEMMAP_START + damage.reuse * PAGE + damage.start_off
    start = reuse + damage.gap * PAGE
    end = VMEMMAP_START + (damage.reuse + 1 + damage.pages) * PAGE + damage.end_off
    died_of = ""
    try:
        vmemmap_remap_free(m, start, end, reuse)
    except KernelBug as bug:
        died_of = str(bug)
    event(died_of or "lives")
    assert died_of == next(bugs(damage), "")
