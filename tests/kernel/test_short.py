# SPDX-License-Identifier: Apache-2.0
"""Failures of a real kernel: memory is used up, and what could not be done is counted exactly."""

import itertools
import json
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from probes.events import Event, canonical, unpack_all
from probes.geometry import GIB
from probes.live.plan import MODES
from probes.operations import parse_operation
from sim_backend.errors import OperationError
from sim_backend.kernel import SimKernel
from tests.kernel.kernels import Kernels
from tests.kernel.legs import under_test
from tests.kernel.precompiled import with_programs
from tests.kernel.qemu import run_in_guest
from tests.kernel.short import PAGES
from tests.kernel.test_counts import EXPECTED
from tests.kernel.test_modes import net_frames

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 900
DEMOTED = {"debian-6.12-113"}
"""A kernel that optimises without a new head page where there is no memory for one (6.2 to 7.0)."""
LEGS = ("debian-6.1", "debian-6.12-113", "debian-newest")
"""Each way in which a kernel restores and optimises: 5.14 to 6.6, 6.7 to 7.0, 7.1 and later."""

ORDER_2MB, ORDER_1GB = 9, 18

Notes = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What the guest wrote."""

    leg: str
    notes: Notes
    events: bytes


@pytest.fixture(scope="module", params=[leg for leg in LEGS if leg in under_test()])
def seen(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """One boot of each kernel."""
    leg = request.param
    out = tmp_path_factory.mktemp(leg)
    demotes = leg in DEMOTED
    run = run_in_guest(
        with_programs(kernels(leg)),
        (sys.executable, "-m", "tests.kernel.short", str(out), *(["demote"] if demotes else [])),
        out=out,
        memory_mib=6144 if demotes else 2048,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    notes = json.loads((out / "short.json").read_text())
    return Seen(leg, notes, (out / "events.bin").read_bytes())


def changes(notes: Notes, step: str, mode: str) -> Counter[tuple[str, str, int]]:
    """What was counted in a step, by family, detail and order."""
    counted: Counter[tuple[str, str, int]] = Counter()
    for before, after in itertools.pairwise(notes["steps"]):
        if after["op"] != step:
            continue
        for sign, totals in ((-1, before["counters"][mode]), (1, after["counters"][mode])):
            for family, detail, order, _, n in totals:
                counted[family, detail, order] += sign * n
    return +counted


def pools(notes: Notes, step: str) -> dict[str, int]:
    """The pool's own files after a step."""
    found: dict[str, int] = next(s["pools"] for s in notes["steps"] if s["op"] == step)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_restored_is_surplus(seen: Seen, mode: str) -> None:
    leg, notes = seen.leg, seen.notes
    counted = changes(notes, "shrink without memory", mode)
    after = pools(notes, "shrink without memory")
    assert after["2 surplus"] == after["2 nr"] == after["2 free"] > 0
    restored = PAGES - after["2 nr"]
    assert counted["hugepages_restored", "", ORDER_2MB] == restored
    frames = restored * (EXPECTED[leg].ptes_2mb - EXPECTED[leg].head)
    assert counted["ptes_restored", "", ORDER_2MB] == frames
    assert counted["frames_allocated", "restore", ORDER_2MB] == frames
    # From 6.7 on a list is tried whole, and page by page only when that has failed.
    failures = counted["restore_failures", "ENOMEM", ORDER_2MB]
    tries = 1 if EXPECTED[leg].head else 0
    assert failures >= after["2 surplus"] + tries
    if not restored:
        assert failures == after["2 surplus"] + tries


@pytest.mark.parametrize("mode", MODES)
def test_with_memory_again_they_are_restored(seen: Seen, mode: str) -> None:
    leg, notes = seen.leg, seen.notes
    left = pools(notes, "shrink without memory")["2 nr"]
    after = pools(notes, "shrink with memory")
    assert (after["2 nr"], after["2 surplus"]) == (0, 0)
    counted = changes(notes, "shrink with memory", mode)
    assert counted["hugepages_restored", "", ORDER_2MB] == left
    assert counted["restore_failures", "ENOMEM", ORDER_2MB] == 0
    each = EXPECTED[leg].ptes_2mb - EXPECTED[leg].head
    assert counted["ptes_restored", "", ORDER_2MB] == left * each


@pytest.mark.parametrize("mode", MODES)
def test_without_a_new_head_a_page_has_a_pte_less(seen: Seen, mode: str) -> None:
    leg, notes = seen.leg, seen.notes
    if leg not in DEMOTED:
        assert "demote without memory" not in {step["op"] for step in notes["steps"]}
        return
    counted = changes(notes, "demote without memory", mode)
    assert pools(notes, "demote without memory")["1024 nr"] == 0
    assert counted["hugepages_optimized", "", ORDER_2MB] == 512
    heads = counted["frames_allocated", "head", ORDER_2MB]
    assert heads < 512
    assert counted["ptes_remapped", "", ORDER_2MB] == 512 * 7 + heads
    assert counted["frames_freed", "", ORDER_2MB] == 512 * 7 + heads


def test_the_kernel_accounts_the_same(seen: Seen) -> None:
    notes = seen.notes
    for before, after in itertools.pairwise(notes["steps"]):
        if after["kernel"]["memmap_pages"] is None:
            continue
        assert set(after["drift"].values()) == {0}, after["op"]
        fall = before["kernel"]["memmap_pages"] - after["kernel"]["memmap_pages"]
        counted: Counter[tuple[str, str, int]] = Counter()
        for sign, totals in ((-1, before["counters"]["full"]), (1, after["counters"]["full"])):
            for family, detail, order, _, n in totals:
                counted[family, detail, order] += sign * n
        assert fall == net_frames(counted), after["op"]


def test_the_simulator_does_the_same_event_by_event(seen: Seen) -> None:
    made: list[Event] = []
    kernel = SimKernel(
        EXPECTED[seen.leg].generation, nodes=2, memory_per_node=GIB, hvo=False, emit=made.append
    )
    for text in ("hvo on", f"grow 2MB {PAGES}"):
        kernel.operate(parse_operation(text))
    for node in range(2):
        kernel.hold_memory(node, leave=0)
    with pytest.raises(OperationError, match="memory to restore no more than 0"):
        kernel.operate(parse_operation(f"shrink 2MB {PAGES}"))
    assert pools(seen.notes, "shrink without memory")["2 nr"] == PAGES
    assert list(canonical(unpack_all(seen.events))) == list(canonical(made))


def test_no_hit_was_missed(seen: Seen) -> None:
    assert {n for mode in seen.notes["missed"].values() for n in mode.values()} == {0}
