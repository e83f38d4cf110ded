# SPDX-License-Identifier: Apache-2.0
"""Counts under concurrency: 96 tasks that fault surplus pages at once, on four CPUs."""

import json
import sys
from collections import Counter
from typing import Any

import pytest

from probes.backend import FULL
from probes.bpf.handover import KPROBE
from tests.guests.kernel_matrix import under_test
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.crowd import PAGES, ROUNDS, TASKS
from tests.kernel.expected import EXPECTED, Expected
from tests.kernel.modes import WAYS
from tests.kernel.test_counts import MEMORY_MIB

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1500
CPUS = 4
HAPPENED = TASKS * PAGES * ROUNDS

ALL = [f"{mode} {attach}" for mode, attach in WAYS]

KERNELS = ("debian-6.1", "debian-6.12-113", "debian-newest")
"""6.1 without accounting of its own; the 6.12 that waits for RCU in each call; and the newest."""


@pytest.fixture(
    scope="module", params=[kernel_name for kernel_name in KERNELS if kernel_name in under_test()]
)
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


def lost(seen: tuple[dict[str, Any], Expected], way: str) -> int:
    """The most pages that may be missing from the counts.

    Full mode by kprobes loses none, and no other way does where nothing was dropped. A walk's
    return may be dropped, and a preemptible kernel does not run a trampoline's program in which
    another task of the CPU was preempted.
    """
    missed = seen[0]["counted"][way]["missed"]
    if way == f"{FULL} {KPROBE}":
        return 0
    return int(missed["remap_range"] if KPROBE in way else sum(missed.values()))


@pytest.mark.parametrize("way", ALL)
def test_every_page_of_the_crowd_is_counted(
    seen: tuple[dict[str, Any], Expected], way: str
) -> None:
    expected, totals = seen[1], counted(seen, way)
    pages = totals["hugepages_optimized", ""]
    assert HAPPENED - lost(seen, way) <= pages <= HAPPENED
    assert HAPPENED - lost(seen, way) <= totals["optimize_calls", ""] <= HAPPENED
    assert totals["ptes_remapped", ""] == totals["frames_freed", ""] == pages * expected.ptes_2mb
    assert totals["frames_allocated", "head"] == pages * expected.head
    back = totals["hugepages_restored", ""]
    assert HAPPENED - lost(seen, way) <= back <= HAPPENED
    restored = back * (expected.ptes_2mb - expected.head)
    assert totals["ptes_restored", ""] == totals["frames_allocated", "restore"] == restored
    assert not any(n for (family, _), n in totals.items() if "failures" in family)
    if not lost(seen, way):
        assert not any(n for (family, _), n in totals.items() if "skipped" in family)
        assert seen[0]["counted"][way]["drift"] == (0 if expected.head else None)


@pytest.mark.parametrize("way", ALL)
def test_every_page_that_is_counted_is_timed(
    seen: tuple[dict[str, Any], Expected], way: str
) -> None:
    durations = seen[0]["counted"][way]["durations"]
    timed = {direction: sum(counts) for direction, order, counts, _ in durations if order == 9}
    totals = counted(seen, way)
    assert timed["optimize"] == totals["hugepages_optimized", ""]
    assert timed["restore"] == totals["hugepages_restored", ""]


def test_before_6_7_nothing_counts_entries_that_are_dropped(
    seen: tuple[dict[str, Any], Expected],
) -> None:
    missed = seen[0]["counted"][f"{FULL} {KPROBE}"]["missed"]
    entries = {"remap_pte", "restore_pte"}
    assert entries & missed.keys() == (entries if seen[1].head else set())


def test_nothing_is_left_behind(seen: tuple[dict[str, Any], Expected]) -> None:
    assert seen[0]["hooks_left"] == ""
    for way in seen[0]["counted"].values():
        assert way["map_errors"] == {"operations": 0}
