# SPDX-License-Identifier: Apache-2.0
"""Counts under concurrency: 96 tasks that fault surplus pages at once, on four CPUs."""

import json
import sys
from collections import Counter
from typing import Any

import pytest

from probes.live.handover import KPROBE
from probes.live.plan import FULL, RANGE
from tests.kernel.crowd import PAGES, ROUNDS, TASKS
from tests.kernel.kernels import Kernels
from tests.kernel.legs import under_test
from tests.kernel.modes import WAYS
from tests.kernel.precompiled import with_programs
from tests.kernel.qemu import run_in_guest
from tests.kernel.test_counts import EXPECTED, MEMORY_MIB, Expected

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1500
CPUS = 4
HAPPENED = TASKS * PAGES * ROUNDS
LOSSLESS = [f"{mode} {attach}" for mode, attach in WAYS if (mode, attach) != (RANGE, KPROBE)]
"""Every way but the one that reads the walk's count at a return that may be dropped."""


LEGS = ("debian-6.1", "debian-6.12-113", "debian-newest")
"""6.1 without accounting of its own; the 6.12 that waits for RCU in each call; and the newest."""


@pytest.fixture(scope="module", params=[leg for leg in LEGS if leg in under_test()])
def seen(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Expected]:
    """One boot of each kernel."""
    out = tmp_path_factory.mktemp(request.param)
    run = run_in_guest(
        with_programs(kernels(request.param), cpus=CPUS),
        (sys.executable, "-m", "tests.kernel.crowd", str(out)),
        out=out,
        memory_mib=MEMORY_MIB,
        cpus=CPUS,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    return json.loads((out / "crowd.json").read_text()), EXPECTED[request.param]


def counted(seen: tuple[dict[str, Any], Expected], way: str) -> Counter[tuple[str, str]]:
    totals: Counter[tuple[str, str]] = Counter()
    for family, detail, _, _, n in seen[0]["counted"][way]["totals"]:
        totals[family, detail] += n
    return totals


@pytest.mark.parametrize("way", LOSSLESS)
def test_every_page_of_the_crowd_is_counted(
    seen: tuple[dict[str, Any], Expected], way: str
) -> None:
    expected = seen[1]
    back = expected.ptes_2mb - expected.head
    assert +counted(seen, way) == {
        ("optimize_calls", ""): HAPPENED,
        ("hugepages_optimized", ""): HAPPENED,
        ("ptes_remapped", ""): HAPPENED * expected.ptes_2mb,
        ("frames_freed", ""): HAPPENED * expected.ptes_2mb,
        **({("frames_allocated", "head"): HAPPENED} if expected.head else {}),
        ("frames_allocated", "restore"): HAPPENED * back,
        ("hugepages_restored", ""): HAPPENED,
        ("ptes_restored", ""): HAPPENED * back,
    }
    assert seen[0]["counted"][way]["drift"] == (0 if expected.head else None)


@pytest.mark.parametrize("way", LOSSLESS)
def test_every_page_of_the_crowd_is_timed(seen: tuple[dict[str, Any], Expected], way: str) -> None:
    durations = seen[0]["counted"][way]["durations"]
    timed = {direction: sum(counts) for direction, order, counts, _ in durations if order == 9}
    assert (timed["optimize"], timed["restore"]) == (HAPPENED, HAPPENED)


def test_range_mode_by_kprobes_counts_or_misses_every_page(
    seen: tuple[dict[str, Any], Expected],
) -> None:
    way = f"{RANGE} {KPROBE}"
    totals, missed = counted(seen, way), seen[0]["counted"][way]["missed"]
    assert totals["optimize_calls", ""] == HAPPENED
    lost = HAPPENED - totals["hugepages_optimized", ""]
    assert lost == missed["optimize"] + missed["remap_range"]
    assert HAPPENED - totals["hugepages_restored", ""] == missed["restore"]
    assert totals["ptes_remapped", ""] == (HAPPENED - lost) * seen[1].ptes_2mb
    assert not any(n for (family, _), n in totals.items() if family == "hugepages_skipped")


def test_what_the_kernel_dropped_is_told(seen: tuple[dict[str, Any], Expected]) -> None:
    for mode, attach in WAYS:
        missed = seen[0]["counted"][f"{mode} {attach}"]["missed"]
        if attach != KPROBE:
            assert set(missed.values()) == {0}
        # Before Linux 6.7 nothing counts hits of a kprobe that are dropped at a function's entry.
        elif mode == FULL and not seen[1].head:
            assert missed.keys() == {"optimize", "remap_range", "restore"}


def test_nothing_is_left_behind(seen: tuple[dict[str, Any], Expected]) -> None:
    assert seen[0]["hooks_left"] == ""
    for way in seen[0]["counted"].values():
        assert way["map_errors"] == {"operations": 0}
