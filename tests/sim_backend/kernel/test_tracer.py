# SPDX-License-Identifier: Apache-2.0
"""Tasks, CPUs, sequences and time in the events; attaching and detaching."""

from itertools import pairwise

import pytest

from probes.events import Kind
from probes.operations import parse_operation
from tests.sim_backend.harness import ALL, Traced

WORK = ("grow 2MB 11", "shrink 2MB 3", "overcommit 2MB 2", "hvo off", "grow 2MB 5", "shrink 2MB 13")


@pytest.mark.parametrize("generation", ALL)
def test_sequences_have_no_gaps(generation: str) -> None:
    traced = Traced(generation, nodes=2).run(*WORK, *WORK)
    by_cpu: dict[int, list[int]] = {}
    for event in traced.events:
        by_cpu.setdefault(event.cpu, []).append(event.sequence)
    assert len(by_cpu) > 1
    assert set(by_cpu) <= {0, 1, 2, 3}
    for sequences in by_cpu.values():
        assert sequences == list(range(len(sequences)))


@pytest.mark.parametrize("generation", ALL)
def test_time_never_runs_backwards(generation: str) -> None:
    events = Traced(generation).run(*WORK).events
    assert all(a.timestamp_ns <= b.timestamp_ns for a, b in pairwise(events))
    assert events[0].timestamp_ns >= 60 * 10**9


def test_a_duration_is_the_time_from_enter_to_exit() -> None:
    traced = Traced().run("grow 2MB 7", "shrink 2MB 7")
    enters = traced.of(Kind.OPTIMIZE_ENTER, Kind.RESTORE_ENTER)
    exits = traced.of(Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT)
    assert [e.duration_ns for e in exits] == [
        leave.timestamp_ns - enter.timestamp_ns for enter, leave in zip(enters, exits, strict=True)
    ]


def test_each_operation_is_a_task_of_its_own() -> None:
    traced = Traced().run("grow 2MB 3", "shrink 2MB 2")
    growing = {(e.pid, e.tgid, e.comm) for e in traced.of(Kind.OPTIMIZE_ENTER)}
    shrinking = {(e.pid, e.tgid, e.comm) for e in traced.of(Kind.RESTORE_ENTER)}
    assert growing == {(1001, 1001, b"sysctl")}
    assert shrinking == {(1002, 1002, b"sysctl")}


def test_idling_moves_only_the_clock() -> None:
    traced = Traced()
    before = traced.kernel.now_ns
    traced.kernel.idle(2.5)
    assert traced.kernel.now_ns - before == 2_500_000_000
    assert traced.events == []
    with pytest.raises(ValueError, match="monotonic"):
        traced.kernel.idle(-1)


def test_a_kernel_has_one_tracer() -> None:
    traced = Traced()
    with pytest.raises(ValueError, match="traced already"):
        traced.kernel.attach(print)


def test_a_tracer_sees_what_happens_while_it_is_attached() -> None:
    traced = Traced().run("grow 2MB 1")
    traced.kernel.detach()
    traced.kernel.operate(parse_operation("grow 2MB 3"))
    traced.kernel.check_conservation()
    traced.events.clear()
    traced.kernel.attach(traced.events.append)
    traced.run("grow 2MB 5")
    assert traced.total("optimize_calls") == 5
    first = traced.events[0]
    assert first.sequence == 0


def test_without_a_tracer_the_kernel_does_the_same() -> None:
    silent, traced = Traced(), Traced()
    silent.kernel.detach()
    for kernel in (silent.kernel, traced.kernel):
        kernel.operate(parse_operation("grow 2MB 23"))
    assert silent.events == []
    assert silent.kernel.accounts() == traced.kernel.accounts()
    assert silent.kernel.now_ns == traced.kernel.now_ns
