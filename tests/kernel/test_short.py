# SPDX-License-Identifier: Apache-2.0
"""Failures of a real kernel: without memory nothing is restored, and that is counted exactly."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from probes.backend import MODES
from probes.events import Event, canonical, unpack_all
from probes.geometry import GIB
from probes.operations import parse_operation
from sim_backend.kernel.errors import OperationError
from sim_backend.kernel.sim_kernel import SimKernel
from tests.guests.kernel_matrix import whole
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.expected import EXPECTED
from tests.kernel.short import NODE, PAGES

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 900
MEMORY_MIB = 2048
KERNELS = ("debian-6.1", "patched")
"""Kernels that restore a page from its own node's memory alone (up to Linux 6.6)."""

ORDER_2MB = 9

Notes = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What the guest wrote."""

    kernel_name: str
    steps: list[Notes]
    events: bytes

    def pool(self, operation: str) -> dict[str, int]:
        """The pool's own files after a step."""
        found: dict[str, int] = next(s["pool"] for s in self.steps if s["op"] == operation)
        return found

    def changes(self, operation: str, mode: str) -> Counter[tuple[str, str, int]]:
        """What was counted in a step, by family, detail and order."""
        at = next(n for n, step in enumerate(self.steps) if step["op"] == operation)
        counted: Counter[tuple[str, str, int]] = Counter()
        for sign, step in ((-1, self.steps[at - 1]), (1, self.steps[at])):
            for family, detail, order, _, n in step["counters"][mode]:
                counted[family, detail, order] += sign * n
        return +counted


@pytest.fixture(
    scope="module", params=[kernel_name for kernel_name in KERNELS if kernel_name in whole()]
)
def seen(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """One boot of each kernel."""
    kernel_name = request.param
    out = tmp_path_factory.mktemp(kernel_name)
    run = run_in_guest(
        with_programs(kernels(kernel_name)),
        (sys.executable, "-m", "tests.kernel.short", str(out)),
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    notes = json.loads((out / "short.json").read_text())
    return Seen(kernel_name, notes["steps"], (out / "events.bin").read_bytes())


@pytest.mark.parametrize("mode", MODES)
def test_pages_that_were_not_restored_are_surplus_and_failures(seen: Seen, mode: str) -> None:
    assert seen.pool("shrink without memory") == {"nr": PAGES, "surplus": PAGES, "free": PAGES}
    assert seen.changes("shrink without memory", mode) == {
        ("restore_failures", "ENOMEM", ORDER_2MB): PAGES
    }


@pytest.mark.parametrize("mode", MODES)
def test_with_memory_again_every_page_is_restored(seen: Seen, mode: str) -> None:
    frames = PAGES * EXPECTED[seen.kernel_name].ptes_2mb
    assert seen.pool("shrink with memory") == {"nr": 0, "surplus": 0, "free": 0}
    assert seen.changes("shrink with memory", mode) == {
        ("hugepages_restored", "", ORDER_2MB): PAGES,
        ("ptes_restored", "", ORDER_2MB): frames,
        ("frames_allocated", "restore", ORDER_2MB): frames,
    }


def test_the_simulator_does_the_same_event_by_event(seen: Seen) -> None:
    made: list[Event] = []
    kernel = SimKernel(
        EXPECTED[seen.kernel_name].generation,
        nodes=2,
        memory_per_node=GIB,
        hvo=False,
        emit=made.append,
    )
    kernel.hold_memory(0, leave=0)  # all pages come from node 1
    for text in ("hvo on", f"grow 2MB {PAGES}"):
        kernel.operate(parse_operation(text))
    kernel.hold_memory(NODE, leave=0)
    with pytest.raises(OperationError, match="memory to restore no more than 0"):
        kernel.operate(parse_operation(f"shrink 2MB {PAGES}"))
    assert list(canonical(unpack_all(seen.events))) == list(canonical(made))


def test_nothing_was_missed_or_lost(seen: Seen) -> None:
    for step in seen.steps:
        assert {n for missed in step["missed"].values() for n in missed.values()} == {0}
        assert step["lost"] == {"ring": 0}
