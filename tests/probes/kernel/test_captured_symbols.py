# SPDX-License-Identifier: Apache-2.0
"""Symbol tables of real kernels and builds, with the expected hooks of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from probes.backend import FULL, RANGE
from probes.kernel.hooks import Hook, Role, StepHooks, find_switch, has_hvo, select_hooks
from probes.kernel.kallsyms import read_symbols

FOLDER = Path(__file__).parents[2] / "data" / "kallsyms"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))


def step(
    name: str, *hooks: tuple[str, Role] | tuple[str, Role, bool], reason: str = ""
) -> StepHooks:
    """Return a step with its hooks; the reason is compared as a part of the real one."""
    return StepHooks(name, tuple(Hook(*hook) for hook in hooks), reason)


REMAP_RANGE = step("remap_range", ("vmemmap_remap_range", Role.REMAP_RANGE))
REMAP_FREE = step("remap_range", ("vmemmap_remap_free", Role.REMAP_FREE))
REMAP_PTE = step("remap_pte", ("vmemmap_remap_pte", Role.REMAP_PTE))
RESTORE_PTE = step("restore_pte", ("vmemmap_restore_pte", Role.RESTORE_PTE))


@dataclass(frozen=True)
class Expected:
    """Expected result for one symbol table."""

    full: tuple[StepHooks, ...]
    range: tuple[StepHooks, ...]
    has_hvo: bool = True
    switch: bool | None = True
    """Whether the table has the switch's address; None for object files, without addresses."""


# Functions named as in patch v17.
_V17_OPTIMIZE = step("optimize", ("free_huge_page_vmemmap", Role.OPTIMIZE))
_V17_RESTORE = step("restore", ("alloc_huge_page_vmemmap", Role.RESTORE, True))
PATCHED = Expected(
    full=(_V17_OPTIMIZE, REMAP_FREE, REMAP_PTE, _V17_RESTORE, RESTORE_PTE),
    range=(_V17_OPTIMIZE, REMAP_RANGE, _V17_RESTORE),
)

# Linux 6.1: vmemmap_remap_free is inlined, its callee is not.
_OPTIMIZE_6_1 = step("optimize", ("hugetlb_vmemmap_optimize", Role.OPTIMIZE))
_RESTORE_6_1 = step("restore", ("hugetlb_vmemmap_restore", Role.RESTORE, True))
LINUX_6_1 = Expected(
    full=(_OPTIMIZE_6_1, REMAP_RANGE, REMAP_PTE, _RESTORE_6_1, RESTORE_PTE),
    range=(_OPTIMIZE_6_1, REMAP_RANGE, _RESTORE_6_1),
)
HIDDEN_6_1 = Expected(LINUX_6_1.full, LINUX_6_1.range, switch=False)
# vmemmap_remap_free is static but not inlined; its parameters are start, end and reuse.
NOT_INLINED_6_1 = Expected(
    full=(_OPTIMIZE_6_1, REMAP_FREE, REMAP_PTE, _RESTORE_6_1, RESTORE_PTE),
    range=LINUX_6_1.range,
    switch=None,
)

# Linux 6.7 and later: folios, singly and in lists.
_BATCH = step("batch", ("hugetlb_vmemmap_optimize_folios", Role.BATCH))
_OPTIMIZE_FOLIO = step("optimize", ("__hugetlb_vmemmap_optimize_folio", Role.OPTIMIZE, True))
_RESTORE_FOLIO = step("restore", ("__hugetlb_vmemmap_restore_folio", Role.RESTORE, True))
FOLIO = Expected(
    full=(_BATCH, _OPTIMIZE_FOLIO, REMAP_RANGE, REMAP_PTE, _RESTORE_FOLIO, RESTORE_PTE),
    range=(_BATCH, _OPTIMIZE_FOLIO, REMAP_RANGE, _RESTORE_FOLIO),
)
# No CONFIG_KALLSYMS_ALL, so no data.
FOLIO_WITHOUT_DATA = Expected(FOLIO.full, FOLIO.range, switch=False)

# Debian's 7.2: for single pages the caller calls .part.0 directly; lists use the function.
_OPTIMIZE_PART = step(
    "optimize",
    ("__hugetlb_vmemmap_optimize_folio", Role.OPTIMIZE, True),
    ("hugetlb_vmemmap_optimize_folio", Role.OPTIMIZE),
    ("__hugetlb_vmemmap_optimize_folio.part.0", Role.OPTIMIZE_RESULT, True),
)
FOLIO_PART = Expected(
    full=(_BATCH, _OPTIMIZE_PART, REMAP_RANGE, REMAP_PTE, _RESTORE_FOLIO, RESTORE_PTE),
    range=(_BATCH, _OPTIMIZE_PART, REMAP_RANGE, _RESTORE_FOLIO),
)

# gcc 12 without inlining of vmemmap_remap_free, whose third parameter is not a reuse address here.
FOLIO_NOT_INLINED = Expected(
    full=(_BATCH, _OPTIMIZE_FOLIO, REMAP_FREE, REMAP_PTE, _RESTORE_FOLIO, RESTORE_PTE),
    range=FOLIO.range,
    switch=None,
)

# clang with ThinLTO: hugetlb.c calls the static functions directly, bypassing their callers in
# hugetlb_vmemmap.c. They have globally unique names and are otherwise unchanged.
_BATCH_LTO = step(
    "batch", ("__hugetlb_vmemmap_optimize_folios.llvm.17323972953111381055", Role.BATCH)
)
_RESTORE_LTO = step(
    "restore", ("__hugetlb_vmemmap_restore_folio.llvm.17323972953111381055", Role.RESTORE, True)
)
FOLIO_LTO = Expected(
    full=(_BATCH_LTO, _OPTIMIZE_FOLIO, REMAP_RANGE, REMAP_PTE, _RESTORE_LTO, RESTORE_PTE),
    range=(_BATCH_LTO, _OPTIMIZE_FOLIO, REMAP_RANGE, _RESTORE_LTO),
)


def unhooked(optimize: str, restore: str) -> Expected:
    """Expect hooks for batches, ranges and PTEs, but none for single pages."""
    steps = (
        _BATCH,
        step("optimize", reason=optimize),
        REMAP_RANGE,
        REMAP_PTE,
        step("restore", reason=restore),
        RESTORE_PTE,
    )
    in_range = tuple(s for s in steps if s not in (REMAP_PTE, RESTORE_PTE))
    return Expected(steps, in_range, switch=None)


NO_HVO = Expected(
    full=tuple(
        step(name, reason="the kernel has none of: ")
        for name in ("optimize", "remap_range", "remap_pte", "restore", "restore_pte")
    ),
    range=tuple(
        step(name, reason="the kernel has none of: ")
        for name in ("optimize", "remap_range", "restore")
    ),
    has_hvo=False,
    switch=False,
)

EXPECTED: Mapping[str, Expected] = {
    "patched": PATCHED,
    "patched-slob": PATCHED,  # has all functions but never calls them
    "debian-5.10": NO_HVO,
    "debian-6.1": LINUX_6_1,
    "debian-6.1-hidden": HIDDEN_6_1,
    "debian-6.1-rt": LINUX_6_1,
    "debian-6.1-traced": LINUX_6_1,
    "debian-6.12": FOLIO,
    "debian-6.12-backport": FOLIO,
    "debian-6.12-rt": FOLIO,
    "cloud-6.18": FOLIO_WITHOUT_DATA,
    "debian-7.2": FOLIO_PART,
    "debian-7.2-amd64": FOLIO_PART,
    "debian-7.3": FOLIO,
    "debian-7.3-rt": FOLIO,
    "gcc-6.1-not-inlined": NOT_INLINED_6_1,
    "gcc-6.12-all-inlined": unhooked("the kernel has none of: ", "the kernel has none of: "),
    # Some callers call the function, others call clones with fewer arguments.
    "gcc-6.12-cloned": unhooked(
        "__hugetlb_vmemmap_optimize_folio.constprop.1.isra.0",
        "__hugetlb_vmemmap_restore_folio.constprop.0",
    ),
    "gcc-7.2-not-inlined": FOLIO_NOT_INLINED,
    "gcc-7.3-cloned": unhooked(
        "__hugetlb_vmemmap_optimize_folio.constprop.0",
        "__hugetlb_vmemmap_restore_folio.constprop.0",
    ),
    "clang-6.1": Expected(LINUX_6_1.full, LINUX_6_1.range, switch=None),
    "clang-6.1-lto": LINUX_6_1,
    "clang-7.3": Expected(FOLIO.full, FOLIO.range, switch=None),
    "clang-7.3-lto": FOLIO_LTO,
}


@pytest.mark.parametrize("mode", [FULL, RANGE])
@pytest.mark.parametrize("name", NAMES)
def test_hooks_of_captured_symbols_are_as_expected(name: str, mode: str) -> None:
    selected = select_hooks(read_symbols(FOLDER / f"{name}.txt"), mode)
    wanted = EXPECTED[name].full if mode == FULL else EXPECTED[name].range
    assert [(s.step, s.hooks) for s in selected] == [(s.step, s.hooks) for s in wanted]
    for found, expected in zip(selected, wanted, strict=True):
        assert expected.reason in found.reason
        assert bool(found.reason) == (not found.hooks)


@pytest.mark.parametrize("name", NAMES)
def test_has_hvo_of_captured_symbols_is_as_expected(name: str) -> None:
    assert has_hvo(read_symbols(FOLDER / f"{name}.txt")) == EXPECTED[name].has_hvo


@pytest.mark.parametrize("name", NAMES)
def test_the_switch_is_found_if_the_symbols_show_it(name: str) -> None:
    address = find_switch(read_symbols(FOLDER / f"{name}.txt"))
    assert EXPECTED[name].switch in (None, address != 0)


def test_every_symbol_file_has_an_expectation() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_symbol_file_has_a_header_with_its_origin(name: str) -> None:
    header, *symbols = (FOLDER / f"{name}.txt").read_text().splitlines()
    assert header.startswith("# ")
    assert len(header.split("; ")) >= 4
    assert all(len(line.split()) in (3, 4) and "vmemmap" in line.split()[2] for line in symbols)


@pytest.mark.parametrize(
    "mark",
    [".isra.", ".constprop.", ".part.", ".cold", ".llvm.", " __pfx_", "0000000000000000 ", "\t["],
)
def test_the_symbol_files_cover_every_kind_of_changed_name(mark: str) -> None:
    assert any(mark in (FOLDER / f"{name}.txt").read_text() for name in NAMES)
