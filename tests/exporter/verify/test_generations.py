# SPDX-License-Identifier: Apache-2.0
"""Every simulated kernel is verified: the right ones pass, the broken ones fail where they must."""

import pytest

from exporter.verify.cases import cases_of
from exporter.verify.machine import ImpossibleError
from exporter.verify.points import EXIT_FAILED, EXIT_OK, Outcome, Point, exit_code
from exporter.verify.run import ACCOUNTS, MEMORY, Options, number_of_points, run
from exporter.verify.simulated import SimulatedMachine
from probes.observation import Absent
from probes.operations import Operation
from sim_backend.kernel.generation import GENERATIONS, HeadFrame

BROKEN = [n for n, g in GENERATIONS.items() if g.head is HeadFrame.REQUIRED_SHARED]
RIGHT = [n for n, g in GENERATIONS.items() if g.feature and n not in BROKEN]
EVERYTHING = Options(known_bug=True, keep_going=True)


def verify(machine: SimulatedMachine, options: Options = EVERYTHING) -> list[Point]:
    """Every case, also those that run only where they are named."""
    cases = cases_of(machine, machine.free_bytes() // 4)
    points = list(run(machine, cases, options, sleep=lambda _seconds: None))
    assert len(points) == number_of_points(cases)
    return points


def failed(points: list[Point]) -> dict[str, tuple[str, ...]]:
    return {point.name: point.details for point in points if point.outcome is Outcome.NOT_OK}


@pytest.mark.parametrize(
    ("generation", "nodes"), [*((name, 1) for name in RIGHT), ("6.0", 2), ("7.3", 2)]
)
def test_a_right_kernel_passes_every_case(generation: str, nodes: int) -> None:
    points = verify(SimulatedMachine(generation, nodes=nodes))
    assert failed(points) == {}
    assert exit_code(points) == EXIT_OK
    judged = {point.account for point in points if point.outcome is Outcome.OK}
    absent = {"kernel log", "page flags"}
    if not GENERATIONS[generation].memmap_counters:
        absent |= {"memmap counters"}
    assert judged & set(ACCOUNTS) == set(ACCOUNTS) - absent


@pytest.mark.parametrize("generation", BROKEN)
def test_a_kernel_that_keeps_copies_of_the_head_does_not_give_memory_back(generation: str) -> None:
    points = verify(SimulatedMachine(generation))
    found = failed(points)
    assert exit_code(points) == EXIT_FAILED
    assert "restore-leak" in found["kernel: known bugs"][0]
    assert found[f"grow-2MB: {MEMORY}"][0].startswith("46 MiB are not given back, of 46 MiB")
    assert found["demote-1GB: probes"][0] == ("demote 1GB 1: 2MB pages optimized: 1 (expected 512)")
    # As on Debian's 6.12.118: all parts, and the frames of 511 restores that nothing needed.
    assert found[f"demote-1GB: {MEMORY}"][0].startswith("1038 MiB are not given back, of 1024 MiB")
    # Pages that were never optimized are given back.
    assert f"off-2MB: {MEMORY}" not in found
    assert "kernel: put back" not in found


@pytest.mark.parametrize("generation", BROKEN)
def test_without_init_on_alloc_memory_comes_back(generation: str) -> None:
    found = failed(verify(SimulatedMachine(generation, init_on_alloc=False)))
    assert set(found) == {
        "kernel: known bugs",
        "demote-1GB: probes",
        "demote-1GB: memmap counters",
    }


@pytest.mark.parametrize("generation", BROKEN)
def test_a_known_bug_is_reported_and_not_run(generation: str) -> None:
    machine = SimulatedMachine(generation)
    free = machine.free_bytes()
    points = verify(machine, Options())
    assert set(failed(points)) == {"kernel: known bugs"}
    assert {point.outcome for point in points[1:-1]} == {Outcome.SKIP}
    assert machine.free_bytes() == free


def test_where_bugs_cannot_be_recognized_that_is_said_and_the_cases_run() -> None:
    class Unreadable(SimulatedMachine):
        @property
        def known_bugs(self) -> Absent:
            return Absent("a bug is recognized by BTF, which can't be read")

    points = verify(Unreadable(BROKEN[0]), Options())
    assert points[0] == Point(
        "kernel", "known bugs", Outcome.SKIP, ("a bug is recognized by BTF, which can't be read",)
    )
    assert f"flip-2MB: {MEMORY}" in failed(points)


@pytest.mark.parametrize("generation", BROKEN)
def test_the_first_case_that_loses_memory_is_the_last(generation: str) -> None:
    machine = SimulatedMachine(generation)
    points = verify(machine, Options(known_bug=True))
    losing = [point for point in points if point.account == MEMORY]
    assert [point.outcome for point in losing].count(Outcome.NOT_OK) == 1
    after = losing[[point.outcome for point in losing].index(Outcome.NOT_OK) + 1 :]
    assert after
    assert {point.outcome for point in after} == {Outcome.SKIP}
    assert machine.read().memory > machine.free_bytes() - (64 << 20)


def test_patch_v17_frees_nothing_so_there_is_no_case() -> None:
    machine = SimulatedMachine("v17")
    assert cases_of(machine, machine.free_bytes()) == []


class Stuck(SimulatedMachine):
    """Has no memory for one verb."""

    def __init__(self, verb: str) -> None:
        super().__init__("7.3")
        self.verb = verb

    def perform(self, operation: Operation) -> None:
        if operation.verb == self.verb:
            raise ImpossibleError("no memory")
        super().perform(operation)


@pytest.mark.parametrize(("verb", "outcome"), [("grow", Outcome.SKIP), ("shrink", Outcome.NOT_OK)])
def test_memory_may_be_missing_for_growth_and_never_for_giving_back(
    verb: str, outcome: Outcome
) -> None:
    machine = Stuck(verb)
    (case,) = (case for case in cases_of(machine, machine.free_bytes()) if case.name == "grow-2MB")
    _, first, *others, last = run(machine, [case], EVERYTHING)
    assert (first.outcome, first.details) == (outcome, (f"{verb} 2MB 23: no memory",))
    assert {point.outcome for point in others} == {Outcome.SKIP}
    assert last.outcome is Outcome.OK
    assert machine.read().pages == {2 << 20: 0, 1 << 30: 0}


@pytest.mark.parametrize("generation", ["5.18", "7.3"])
def test_the_switch_is_flipped_only_where_there_is_one(generation: str) -> None:
    points = verify(SimulatedMachine(generation))
    outcomes = {p.outcome for p in points if p.case == "flip-2MB"} - {Outcome.SKIP}
    assert bool(outcomes) == GENERATIONS[generation].sysctl
