# SPDX-License-Identifier: Apache-2.0
"""``hvoscope verify`` on real kernels: right ones pass, the broken one fails where it must."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tests.guests.kernel_matrix import under_test, whole
from tests.guests.kernels import Kernels
from tests.guests.precompiled import with_programs
from tests.guests.qemu import run_in_guest
from tests.kernel.expected import EXPECTED

pytestmark = pytest.mark.kernel

GUEST_TIMEOUT_S = 1800
MEMORY_MIB = 6144
"""A quarter of what is free has a 1 GB page."""

BROKEN = {"debian-6.12", "debian-6.12-stock"}
ALSO = {"debian-6.12-stock", "debian-newest"}
KERNELS = sorted(({*whole()} | ALSO & {*under_test()}) - {"patched"})
"""`patched` does not say what a page saves."""


@dataclass(frozen=True)
class Seen:
    """One kernel's notes."""

    kernel_name: str
    notes: dict[str, Any]

    def failed(self) -> dict[str, list[str]]:
        """Points of the whole run that are not ok."""
        points = json.loads(self.notes["whole"]["stdout"])["points"]
        return {
            f"{point['case']}: {point['account']}": point["details"]
            for point in points
            if point["outcome"] == "not ok"
        }

    def judged(self) -> set[str]:
        """Accounts that said anything."""
        points = json.loads(self.notes["whole"]["stdout"])["points"]
        return {point["account"] for point in points if point["outcome"] != "skip"}

    @property
    def restores(self) -> bool:
        """Whether anything can be given back; verify does nothing on other kernels."""
        return bool(EXPECTED[self.kernel_name].restore)


@pytest.fixture(scope="module", params=KERNELS)
def seen(
    request: pytest.FixtureRequest, kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """One boot of each kernel."""
    kernel_name: str = request.param
    out = tmp_path_factory.mktemp(kernel_name)
    run = run_in_guest(
        with_programs(kernels(kernel_name)),
        (sys.executable, "-m", "tests.kernel.verify", str(out), "--known-bug"),
        out=out,
        memory_mib=MEMORY_MIB,
        timeout_s=GUEST_TIMEOUT_S,
    )
    assert run.exit_code == 0, run.stderr
    return Seen(kernel_name, json.loads((out / "verify.json").read_text()))


def test_a_right_kernel_passes(seen: Seen) -> None:
    if seen.kernel_name in BROKEN or not seen.restores:
        return
    assert seen.failed() == {}
    assert seen.notes["whole"]["exit_code"] == 0
    absent = set() if EXPECTED[seen.kernel_name].head else {"memmap counters"}
    accounts = {"probes", "census", "memmap counters", "kernel log", "page flags"}
    assert accounts - seen.judged() == absent


def test_the_broken_kernel_does_not_give_memory_back(seen: Seen) -> None:
    if seen.kernel_name not in BROKEN:
        return
    failed = seen.failed()
    assert seen.notes["whole"]["exit_code"] == 1
    assert "restore-leak" in failed["kernel: known bugs"][0]
    assert any("Bad page state" in line for line in failed["flip-2MB: kernel log"])
    assert "not given back" in failed["flip-2MB: memory given back"][0]


def test_a_kernel_without_a_restore_is_left_alone(seen: Seen) -> None:
    whole = seen.notes["whole"]
    if EXPECTED[seen.kernel_name].restore:
        assert whole["exit_code"] != 4
        return
    assert whole["exit_code"] == 4
    assert "can't restore" in json.loads(whole["stdout"])["skipped"]


def test_sigterm_puts_everything_back(seen: Seen) -> None:
    if not seen.restores:
        return
    terminated = seen.notes["terminated"]
    assert terminated["exit_code"] == 1
    assert "Bail out!" in terminated["stdout"]
    assert terminated["after"] == terminated["before"]


def test_a_second_run_is_refused(seen: Seen) -> None:
    if not seen.restores:
        return
    second = seen.notes["second"]
    assert second["exit_code"] == 4
    assert "another hvoscope verify is running" in second["stdout"]


def test_huge_pages_in_use_are_left_alone(seen: Seen) -> None:
    if not seen.restores:
        return
    in_use = seen.notes["in_use"]
    assert (in_use["exit_code"], in_use["pool"]) == (4, 1)
    assert in_use["stdout"].splitlines()[1:] == [
        "1..0 # SKIP huge pages are in use or reserved (1 of 2048 KiB): stop their users, "
        "or --pools-in-use"
    ]


def test_what_kill_9_leaves_is_named_and_put_back(seen: Seen) -> None:
    if not seen.restores:
        return
    killed, following = seen.notes["killed"], seen.notes["next"]
    assert killed["exit_code"] == -9
    left = {name for name, value in killed["before"].items() if killed["after"][name] != value}
    assert left
    assert following["exit_code"] == 4
    assert all(name in following["stdout"] for name in left)
    assert seen.notes["put_back"]["exit_code"] == 0
    assert seen.notes["at_end"] == killed["before"]
    assert "nothing was left" in seen.notes["again"]["stdout"]
