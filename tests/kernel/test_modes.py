# SPDX-License-Identifier: Apache-2.0
"""Both probe modes and both ways to attach, on every kernel: the same exact counters.

On a kernel that has not every test, each size grows and shrinks once.
"""

import itertools
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.guests.kernel_matrix import under_test, whole
from tests.guests.kernels import Kernel, Kernels
from tests.guests.precompiled import compile_elsewhere, with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.expected import EXPECTED, WAYS, Expected
from tests.kernel.modes import COUNTS, OPERATIONS, WAYS_FROM_ELSEWHERE
from tests.kernel.test_counts import MEMORY_MIB

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1800  # HVOSCOPE_CYCLES=100 takes ten minutes more
CYCLES = {"patched": int(os.environ.get("HVOSCOPE_CYCLES", "10"))}
"""Times that the probes are attached and detached, and elsewhere a few."""

HEADS_LEFT = {"debian-6.12"}
"""Test kernels that leave copies of a huge page's head in the struct pages that they restore."""

ORDER_2MB, ORDER_1GB = 9, 18


class Pages(NamedTuple):
    """What an operation does, in huge pages: of 2 MB, then of 1 GB."""

    optimized: int = 0
    skipped: int = 0
    already: int = 0
    """Skipped because the kernel believes that they are optimised."""
    restored: int = 0
    optimized_1gb: int = 0
    restored_1gb: int = 0


DONE = {
    "hvo on": Pages(),
    "hvo off": Pages(),
    "grow 2MB 23": Pages(optimized=23),
    "grow 2MB 509": Pages(optimized=509),
    "grow 1GB 1": Pages(optimized_1gb=1),
    "shrink 2MB 23": Pages(restored=23),
    "shrink 2MB 509": Pages(restored=509),
    "shrink 1GB 1": Pages(restored_1gb=1),
    "overcommit 2MB 5": Pages(optimized=5, restored=5),
    "grow 2MB 3": Pages(optimized=3),
    "grow 2MB 2": Pages(skipped=2),  # switched off before
    "shrink 2MB 5": Pages(restored=3),  # the two were never optimised
    "demote 1GB 1": Pages(optimized=512, restored_1gb=1),
    "shrink 2MB 512": Pages(restored=512),
}


@dataclass(frozen=True)
class Observation:
    """The guest's notes, and what this kernel should have done."""

    kernel_name: str
    notes: dict[str, Any]
    expected: Expected
    cycles: int


class Observations:
    """What was seen on each test kernel, in one boot; a boot that failed is not tried again."""

    def __init__(self, kernels: Kernels, temporary: pytest.TempPathFactory) -> None:
        self._kernels = kernels
        self._temporary = temporary
        self._seen: dict[str, Observation | Exception] = {}

    def of(self, kernel_name: str) -> Observation:
        """Boots the test kernel unless that was done."""
        if kernel_name not in self._seen:
            try:
                self._seen[kernel_name] = self._boot(kernel_name)
            except Exception as error:
                self._seen[kernel_name] = error
        found = self._seen[kernel_name]
        if isinstance(found, Exception):
            raise found
        return found

    def _boot(self, kernel_name: str) -> Observation:
        kept = os.environ.get("HVOSCOPE_NOTES")
        out = Path(kept) / kernel_name if kept else self._temporary.mktemp(kernel_name)
        cycles = CYCLES.get(kernel_name, 3) if kernel_name in whole() else 0
        return Observation(
            kernel_name,
            observe(kernel_name, self._kernels(kernel_name), out, cycles),
            EXPECTED[kernel_name],
            cycles,
        )


@pytest.fixture(scope="module")
def observations(kernels: Kernels, tmp_path_factory: pytest.TempPathFactory) -> Observations:
    """Shared by tests of all test kernels and those of the main ones."""
    return Observations(kernels, tmp_path_factory)


@pytest.fixture(params=under_test())
def seen(request: pytest.FixtureRequest, observations: Observations) -> Observation:
    """Every test kernel's counts."""
    return observations.of(request.param)


@pytest.fixture(params=whole())
def seen_whole(request: pytest.FixtureRequest, observations: Observations) -> Observation:
    """Of test kernels where more than the counts was seen."""
    return observations.of(request.param)


def observe(kernel_name: str, kernel: Kernel, out: Path, cycles: int) -> dict[str, Any]:
    """Boot ``kernel``, let the guest do its work, return its notes (also in ``out``).

    Without cycles of attaching and detaching, only the counts of a few operations.
    """
    operations = EXPECTED[kernel_name].done(OPERATIONS if cycles else COUNTS)
    command = (sys.executable, "-m", "tests.kernel.modes", str(out), str(cycles), *operations)
    run = run_in_guest(
        with_programs(kernel),
        command,
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    notes: dict[str, Any] = json.loads((out / "modes.json").read_text())
    return notes


def counters_of(pages: Pages, expected: Expected) -> Counter[tuple[str, str, int]]:
    """What must be counted for ``pages``, by family, detail and order."""
    counted: Counter[tuple[str, str, int]] = Counter()
    calls = pages.optimized + pages.skipped + pages.already
    counted["hugepages_skipped", "off", ORDER_2MB] = pages.skipped
    counted["hugepages_skipped", "other", ORDER_2MB] = pages.already
    for order, ptes, called, optimized, restored in (
        (ORDER_2MB, expected.ptes_2mb, calls, pages.optimized, pages.restored),
        (
            ORDER_1GB,
            expected.ptes_1gb,
            pages.optimized_1gb,
            pages.optimized_1gb,
            pages.restored_1gb,
        ),
    ):
        back = ptes - expected.head
        counted["optimize_calls", "", order] = called
        counted["hugepages_optimized", "", order] = optimized
        counted["ptes_remapped", "", order] = optimized * ptes
        counted["frames_freed", "", order] = optimized * ptes
        counted["frames_allocated", "head", order] = optimized * expected.head
        counted["frames_allocated", "restore", order] = restored * back
        counted["hugepages_restored", "", order] = restored
        counted["ptes_restored", "", order] = restored * back
    return +counted


def done(steps: list[dict[str, Any]], at: int, expected: Expected) -> Pages:
    """What step ``at`` did, in pages.

    How many of a demoted page's 512 parts are optimised is the kernel's to say, where it accounts:
    one of ``HEADS_LEFT`` takes 511 for optimised already, by the flag of the 1 GB page's head.
    """
    pages = DONE[steps[at]["op"]]
    before, after = (steps[i]["kernel"]["memmap_pages"] for i in (at - 1, at))
    if not steps[at]["op"].startswith("demote") or after is None:
        return pages
    taken = expected.ptes_1gb - expected.head
    optimized, rest = divmod(before - after + taken, expected.ptes_2mb - expected.head)
    assert rest == 0
    return pages._replace(optimized=optimized, already=512 - optimized)


def net_frames(counted: Counter[tuple[str, str, int]]) -> int:
    """Frames freed less frames allocated."""
    return sum(
        n if family == "frames_freed" else -n if family == "frames_allocated" else 0
        for (family, _, _), n in counted.items()
    )


@pytest.mark.parametrize("way", WAYS)
def test_every_operation_is_counted_exactly(seen: Observation, way: str) -> None:
    if reason := seen.notes["count"]["refused"].get(way):
        assert way not in seen.expected.ways, reason
        return
    should_be: Counter[tuple[str, str, int]] = Counter()
    steps = seen.notes["count"]["steps"]
    for at, step in enumerate(steps[1:], start=1):
        should_be += counters_of(done(steps, at, seen.expected), seen.expected)
        counted: Counter[tuple[str, str, int]] = Counter()
        for family, detail, order, _, n in step["counters"][way]:
            counted[family, detail, order] += n
        assert +counted == should_be, step["op"]


def test_the_kernel_accounts_the_same(seen: Observation) -> None:
    steps = seen.notes["count"]["steps"]
    compared = 0
    for at, (before, step) in enumerate(itertools.pairwise(steps), start=1):
        net = net_frames(counters_of(done(steps, at, seen.expected), seen.expected))
        if step["kernel"]["memmap_pages"] is not None:
            fall = before["kernel"]["memmap_pages"] - step["kernel"]["memmap_pages"]
            assert fall == net, step["op"]
            assert set(step["drift"].values()) == {0}, step["op"]
            compared += 1
        else:
            assert set(step["drift"].values()) == {None}
    # nr_memmap_* came with Linux 6.11, the new head page with 6.2.
    assert compared == (len(steps) - 1 if seen.expected.head else 0)


@pytest.mark.parametrize("operation", ["grow 2MB 23", "grow 2MB 509", "grow 1GB 1"])
def test_memtotal_rises_by_every_frame_of_fresh_memory(seen: Observation, operation: str) -> None:
    steps = seen.notes["count"]["steps"]
    at = next(i for i, step in enumerate(steps) if step["op"] == operation)
    kib = steps[at]["kernel"]["memtotal_kib"] - steps[at - 1]["kernel"]["memtotal_kib"]
    counted = counters_of(DONE[operation], seen.expected)
    freed = sum(n for (family, _, _), n in counted.items() if family == "frames_freed")
    assert kib == 4 * freed


def test_a_way_that_needs_what_btf_does_not_tell_is_refused(seen: Observation) -> None:
    refused = seen.notes["count"]["refused"]
    assert set(refused) == set(WAYS) - set(seen.expected.ways)
    assert all("BTF" in reason for reason in refused.values())


def test_attached_as_asked_and_nothing_missed(seen: Observation) -> None:
    for way, health in seen.notes["count"]["health"].items():
        mode, attach = way.split()
        # The part of a split function is not in BTF: a kprobe even where the rest is fentry.
        attached = {how for _, symbol, how in health["probes"] if ".part." not in symbol}
        assert attached == {attach}
        steps = {step for step, _, _ in health["probes"]}
        assert ("remap_pte" in steps) == (mode == "full")
        counts_misses = attach not in seen.expected.misses_unknown
        assert set(health["missed"].values()) == ({0} if counts_misses else set())
        assert health["map_errors"] == {"operations": 0}


def test_programs_compiled_elsewhere_count_the_same_without_bcc(seen_whole: Observation) -> None:
    notes = seen_whole.notes["without_bcc"]
    pages = Pages(optimized=23, restored=23 if seen_whole.expected.restore else 0)
    for way, totals in notes["totals"].items():
        counted: Counter[tuple[str, str, int]] = Counter()
        for family, detail, order, _, n in totals:
            counted[family, detail, order] += n
        assert +counted == counters_of(pages, seen_whole.expected), way
    possible = {f"{mode} {attach}" for mode, attach in WAYS_FROM_ELSEWHERE}
    assert set(notes["totals"]) == possible & set(seen_whole.expected.ways), notes["refused"]
    assert "can't be used (the checksum does not match): compile" in notes["damaged"]["full fentry"]
    assert notes["hooks_left"] == ""


def test_hvoscope_compile_makes_the_programs_that_the_guest_loaded(
    seen_whole: Observation, kernels: Kernels, tmp_path: Path
) -> None:
    said, known = compile_elsewhere(kernels(seen_whole.kernel_name), tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    ways = sum(way.startswith("full") for way in seen_whole.expected.ways)
    assert len(made) == 3 * ways  # no stream, a stream, a stream with stacks
    assert len(made & known) >= 2 * ways
    for name in made:
        assert f"{tmp_path / name}: full, " in said


def test_what_check_says_of_freed_memory_is_so(seen_whole: Observation) -> None:
    assert seen_whole.notes["may_leave_heads"] == (seen_whole.kernel_name in HEADS_LEFT)
    memory = seen_whole.notes["free_memory"]
    assert memory["free"] > 10_000
    assert (memory["stale"] > 0) == (seen_whole.kernel_name in HEADS_LEFT)


def test_batches(seen_whole: Observation) -> None:
    for health in seen_whole.notes["count"]["health"].values():
        if seen_whole.expected.head:
            # Of 2 MB: four that grew while it was on, and the demoted page's. Of 1 GB: two.
            assert sorted(health["batches"]) == [[ORDER_2MB, 4], [ORDER_1GB, 2]]
        else:
            assert health["batches"] == []


def test_kill_9_leaves_no_probe_behind(seen_whole: Observation) -> None:
    died = seen_whole.notes["die"]
    assert died["exit_code"] == -9
    assert died["after"] == ""


def test_starting_and_stopping_leaves_no_probe_behind(seen_whole: Observation) -> None:
    cycles = seen_whole.notes["start_and_stop"]
    assert cycles["attached"] == cycles["cycles"] == seen_whole.cycles
    assert cycles["hooks_left"] == seen_whole.notes["count"]["hooks_left"] == ""
