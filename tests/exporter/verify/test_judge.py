# SPDX-License-Identifier: Apache-2.0
"""Each account is held against what must have happened, and a difference is named."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from exporter.verify import judge
from exporter.verify.accounts import Accounts, Counted
from exporter.verify.effect import Change
from exporter.verify.judge import OPTIMIZED, STEP_ACCOUNTS, Moments
from exporter.verify.machine import HugePageSize
from probes.counters import Counters, PageKey, Slot
from probes.geometry import GIB, MIB
from probes.observation import Absent

SMALL = HugePageSize(2 * MIB, 9, 7, 8)
LARGE = HugePageSize(GIB, 18, 4095, 4096, smaller=2 * MIB)
NODES = (PageKey(9, 0), PageKey(9, 1))
NONE = Absent("none here")


def counters(optimized: int, restored: int = 0, *, frames: int = 8, failures: int = 0) -> Counters:
    """Counts of pages on two nodes."""
    of_node = (optimized - optimized // 2, optimized // 2)
    totals = {}
    for key, pages in zip(NODES, of_node, strict=True):
        totals[OPTIMIZED, key] = pages
        totals[Slot("frames_freed"), key] = frames * pages
        totals[Slot("frames_allocated", "head"), key] = pages
        totals[Slot("frames_allocated", "restore"), key] = 0
        totals[Slot("hugepages_restored"), key] = 0
        totals[Slot("restore_failures", "ENOMEM"), key] = 0
    totals[Slot("hugepages_restored"), NODES[0]] = restored
    totals[Slot("frames_allocated", "restore"), NODES[0]] = 7 * restored
    totals[Slot("restore_failures", "ENOMEM"), NODES[1]] = failures
    return Counters(totals)


BEFORE = Accounts(
    pages={2 * MIB: 0, GIB: 0},
    surplus={2 * MIB: 0, GIB: 0},
    probes=counters(0),
    probe_trouble="",
    census={9: Counted(0, 0), 18: Counted(0, 0)},
    memmap_frames=5000,
    mem_total=GIB,
    memory=GIB,
    stale_flags=0,
    log=("BUG: an old one",),
)
GROWN = replace(
    BEFORE,
    pages={2 * MIB: 23, GIB: 0},
    probes=counters(23),
    census={9: Counted(23, 23), 18: Counted(0, 0)},
    memmap_frames=5000 - 161,
    mem_total=GIB + 184 * 4096,
)
GROW = {2 * MIB: Change(pages=23, optimized=23)}


def judged(before: Accounts, after: Accounts, effect: object = None) -> dict[str, object]:
    """What each account says of a growth by 23 pages."""
    moments = Moments(before, after, effect or GROW, (SMALL, LARGE), 4096)  # type: ignore[arg-type]
    return {name: account(moments.resolved()) for name, account in STEP_ACCOUNTS.items()}


def agreed(accounts: Iterable[str]) -> dict[str, object]:
    """Nothing to complain about."""
    return {account: [] for account in accounts}


def test_23_pages_that_every_account_shows() -> None:
    assert judged(BEFORE, GROWN) == agreed(STEP_ACCOUNTS)


@pytest.mark.parametrize(
    ("account", "wrong", "complaints"),
    [
        (
            "pool files",
            {"pages": {2 * MIB: 22, GIB: 0}},
            ["the pool of 2MB changed by 22 pages (expected 23)"],
        ),
        (
            "pool files",
            {"pages": {2 * MIB: 23, GIB: 1}},
            ["the pool of 1GB changed by 1 pages (expected 0)"],
        ),
        (
            "probes",
            {"probes": counters(22)},
            [
                "2MB pages optimized: 22 (expected 23)",
                "the probes' net frames freed: 154 (expected 161)",
            ],
        ),
        (
            "probes",
            {"probes": counters(23, frames=7)},
            ["the probes' net frames freed: 138 (expected 161)"],
        ),
        ("probes", {"probes": counters(23, failures=2)}, ["2 restore failures"]),
        ("probes", {"probe_trouble": "1 hit was dropped"}, ["1 hit was dropped"]),
        (
            "census",
            {"census": {9: Counted(23, 22)}},
            ["optimized 2MB pages changed by 22 (expected 23)"],
        ),
        (
            "census",
            {"census": {9: Counted(24, 23)}},
            ["2MB pages on the kernel's lists changed by 24 (expected 23)"],
        ),
        (
            "memmap counters",
            {"memmap_frames": 5000 - 160},
            ["nr_memmap_* fell by 160 frames (expected 161)"],
        ),
        (
            "MemTotal",
            {"mem_total": GIB + 185 * 4096},
            ["MemTotal rose by 740 KiB (expected 0 to 736)"],
        ),
        ("MemTotal", {"mem_total": GIB - 4096}, ["MemTotal rose by -4 KiB (expected 0 to 736)"]),
        (
            "kernel log",
            {"log": ("BUG: an old one", "BUG: Bad page", "BUG: b", "BUG: c", "BUG: d")},
            ["BUG: Bad page", "BUG: b", "BUG: c", "and 1 more lines"],
        ),
    ],
)
def test_what_one_account_shows_otherwise_is_named(
    account: str, wrong: dict[str, object], complaints: list[str]
) -> None:
    found = judged(BEFORE, replace(GROWN, **wrong))  # type: ignore[arg-type]
    assert found.pop(account) == complaints
    assert found == agreed(found)


def short_of_memory(**wrong: object) -> dict[str, object]:
    """What each account says of 23 pages that could not be restored."""
    after = replace(GROWN, surplus={2 * MIB: 23, GIB: 0}, probes=counters(23, failures=23))
    effect = {2 * MIB: Change(surplus=23, failed=23)}
    return judged(GROWN, replace(after, **wrong), effect)  # type: ignore[arg-type]


@pytest.mark.parametrize("failures", [23, 24])
def test_pages_that_are_not_restored_are_surplus_and_failures(failures: int) -> None:
    """One more with lists of pages (Linux 6.7)."""
    assert short_of_memory(probes=counters(23, failures=failures)) == agreed(STEP_ACCOUNTS)


@pytest.mark.parametrize("failures", [0, 22, 25])
def test_each_page_that_is_not_restored_is_a_failure(failures: int) -> None:
    found = short_of_memory(probes=counters(23, failures=failures))
    assert found.pop("probes") == [f"{failures} restore failures (expected 23 or 24)"]
    assert found == agreed(found)


def test_pages_that_are_not_restored_and_no_surplus() -> None:
    found = short_of_memory(surplus={2 * MIB: 22})
    assert found.pop("pool files") == ["the surplus of 2MB changed by 22 pages (expected 23)"]
    assert found == agreed(found)


@pytest.mark.parametrize(
    ("account", "field"),
    [
        ("probes", "probes"),
        ("census", "census"),
        ("memmap counters", "memmap_frames"),
        ("kernel log", "log"),
    ],
)
def test_an_account_that_is_absent_is_not_judged(account: str, field: str) -> None:
    without = {field: NONE}
    found = judged(replace(BEFORE, **without), replace(GROWN, **without))  # type: ignore[arg-type]
    assert found.pop(account) == NONE
    assert found == agreed(found)


def test_of_a_mixed_pool_the_probes_say_how_many_are_restored() -> None:
    """And then all other accounts have to agree with them."""
    shrink = {2 * MIB: Change(pages=-5, restored=None)}
    before = replace(GROWN, census={9: Counted(23, 11)})
    after = replace(
        before,
        pages={2 * MIB: 18, GIB: 0},
        probes=counters(23, restored=3),
        census={9: Counted(18, 8)},
        memmap_frames=5000 - 161 + 21,
    )
    assert judged(before, after, shrink) == agreed(STEP_ACCOUNTS)
    wrong = judged(before, replace(after, census={9: Counted(18, 7)}), shrink)
    assert wrong["census"] == ["optimized 2MB pages changed by -4 (expected -3)"]


@pytest.mark.parametrize(
    ("missing", "peak", "complains"),
    [
        (0, 46 * MIB, False),
        (-9 * MIB, 46 * MIB, False),
        (4 * MIB, 10 * MIB, False),
        (5 * MIB, 10 * MIB, True),
        (11 * MIB, 46 * MIB, False),
        (12 * MIB, 46 * MIB, True),
        (128 * MIB, 128 * MIB, True),
    ],
)
def test_more_memory_than_others_take_must_not_be_missing(
    missing: int, peak: int, complains: bool
) -> None:
    after = replace(BEFORE, memory=BEFORE.memory - missing)
    assert bool(judge.memory_given_back(BEFORE, after, peak)) == complains


def test_flags_that_were_there_before_are_not_held_against_the_kernel() -> None:
    marked = replace(BEFORE, stale_flags=509)
    assert judge.page_flags(marked, marked) == []
    assert judge.page_flags(marked, BEFORE) == []
    found = judge.page_flags(BEFORE, marked)
    assert "509 more sampled free frames" in str(found)
    assert judge.page_flags(BEFORE, replace(BEFORE, stale_flags=NONE)) == NONE
