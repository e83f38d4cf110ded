# SPDX-License-Identifier: Apache-2.0
"""Faults look from outside as they would in a live backend."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.backend import STEPS
from probes.counters import (
    DURATIONS,
    PAGE_DURATIONS,
    SLOTS,
    Counters,
    Histogram,
    PageKey,
    reduce,
)
from probes.events import Event, Kind, unpack_all
from probes.geometry import GIB, MIB
from probes.observation import known
from probes.observed import observed_durations, observed_slots
from probes.operations import Operation
from sim_backend.backend import SimBackend
from sim_backend.faults import DETACHED
from sim_backend.kernel.errors import ConservationError, OperationError
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Action, parse_action
from tests.sim_backend.harness import ALL
from tests.sim_backend.scenario.test_perform import ACTIONS


class Watched:
    """A small machine, its backend and its drift."""

    def __init__(self, generation: str = "6.7", *, stream: bool = False) -> None:
        self.kernel = SimKernel(generation, huge_page_sizes=(2 * MIB,), memory_per_node=1 * GIB)
        self.backend = SimBackend(self.kernel, stream=stream)
        self.backend.start()

    def do(self, *texts: str) -> "Watched":
        """Do these actions."""
        for text in texts:
            self.backend.perform(parse_action(text))
        return self

    def total(self, family: str, detail: str = "") -> int | None:
        """One total over nodes."""
        return self.backend.observe().counters.total(family, detail)

    def optimize_times(self) -> Histogram:
        """The duration of optimising 2 MB pages."""
        return self.backend.observe().counters.durations["optimize", 9]

    def events(self) -> list[Event]:
        """Stop, and return what was streamed."""
        self.backend.stop()
        return list(unpack_all(b"".join(self.backend.records())))


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    yield found
    found.backend.stop()


@pytest.mark.parametrize("step", STEPS)
def test_what_a_detached_probe_would_count_is_absent(watched: Watched, step: str) -> None:
    watched.do("grow 2MB 23", f"detach {step}", "grow 2MB 5", "shrink 2MB 5")
    attached = frozenset(STEPS) - {step}
    counters = watched.backend.observe().counters
    assert {slot for slot, _ in counters.totals} == observed_slots(attached)
    assert {name for name, _ in counters.durations} == observed_durations(attached)


def test_status_of_a_detached_probe(watched: Watched) -> None:
    watched.do("detach remap_pte")
    status = watched.backend.observe().status
    assert not status.ready
    assert status.problem == f"remap_pte: {DETACHED}"
    probes = {probe.step: probe for probe in status.probes}
    lost = probes.pop("remap_pte")
    assert (lost.attached, lost.attach, lost.reason) == (False, "", DETACHED)
    assert all(probe.attached and not probe.reason for probe in probes.values())
    assert "remap_pte" not in status.missed
    assert known(watched.backend.observe().drift) is None


@pytest.mark.parametrize("step", STEPS)
def test_a_detached_probe_emits_nothing(step: str) -> None:
    watched = Watched(stream=True).do(f"detach {step}", "grow 2MB 23", "shrink 2MB 23")
    kinds = {Kind(event.kind).name.lower() for event in watched.events()}
    assert not [kind for kind in kinds if kind == step or kind.removesuffix("_enter") == step]
    assert not [kind for kind in kinds if kind.removesuffix("_exit") == step]
    assert kinds


def test_missed_ptes_are_counted_and_drift(watched: Watched) -> None:
    watched.do("grow 2MB 5", "miss remap_pte 5", "grow 2MB 23")
    assert watched.backend.observe().status.missed["remap_pte"] == 5
    assert watched.total("optimize_calls") == 28
    assert watched.total("ptes_remapped") == 28 * 8 - 5
    # The first of the five was the head's own: its new frame was not counted either.
    assert watched.total("frames_allocated", "head") == 27
    assert known(watched.backend.observe().drift) == -4
    watched.do("miss restore_pte 2", "shrink 2MB 23")
    assert watched.total("ptes_restored") == 23 * 7 - 2
    assert known(watched.backend.observe().drift) == -2
    assert watched.backend.observe().status.ready


def test_a_missed_call_is_not_counted_at_all(watched: Watched) -> None:
    watched.do("miss optimize 2", "grow 2MB 23", "miss restore 3", "shrink 2MB 23")
    assert watched.total("optimize_calls") == 21
    assert watched.total("hugepages_optimized") == 21
    assert watched.total("hugepages_restored") == 20
    assert watched.total("ptes_remapped") == 21 * 8
    assert known(watched.backend.observe().drift) == -2 * 7 + 3 * 7


@pytest.mark.parametrize(("step", "kind"), [("remap_range", Kind.REMAP_RANGE)])
@pytest.mark.parametrize("generation", ["v17-enabled", "6.0"])
def test_a_missed_range_is_an_event_less(generation: str, step: str, kind: Kind) -> None:
    watched = Watched(generation, stream=True).do(f"miss {step} 3", "grow 2MB 23")
    assert len([event for event in watched.events() if event.kind == kind]) == 20


def test_a_missed_batch(watched: Watched) -> None:
    watched.do("miss batch 1", "grow 2MB 5", "grow 2MB 5")
    assert sum(watched.backend.observe().counters.durations["batch", 9].counts) == 1
    assert watched.backend.observe().status.missed["batch"] == 1
    assert known(watched.backend.observe().drift) == 0


def test_the_accounting_is_right_even_if_the_events_are_not(watched: Watched) -> None:
    watched.do("miss remap_pte 5", "grow 2MB 23")
    watched.kernel.check_conservation()
    watched.kernel.machine.nr_memmap_pages += 1
    with pytest.raises(ConservationError):
        watched.kernel.check_conservation()


def test_restart_begins_at_0_with_everything_attached(watched: Watched) -> None:
    watched.do("grow 2MB 23", "detach optimize", "miss remap_pte 5", "grow 2MB 5", "restart")
    status = watched.backend.observe().status
    assert status.ready
    assert set(status.missed.values()) == {0}
    totals = watched.backend.observe().counters.totals
    assert {slot for slot, _ in totals} == set(SLOTS)
    assert set(totals.values()) == {0}
    assert known(watched.backend.observe().drift) == 0
    watched.do("shrink 2MB 5", "grow 2MB 23")
    assert watched.total("hugepages_optimized") == 23
    assert watched.total("hugepages_restored") == 5
    assert known(watched.backend.observe().drift) == 0
    watched.kernel.check_conservation()


def test_sequences_begin_anew_with_a_restart() -> None:
    events = Watched(stream=True).do("grow 2MB 1", "restart", "grow 2MB 1").events()
    half = len(events) // 2
    sequences = [event.sequence for event in events if event.cpu == events[half].cpu]
    assert sequences.count(0) >= 1
    assert events[half].sequence == 0


def test_lost_records_are_counted_and_missing() -> None:
    watched = Watched(stream=True).do("grow 2MB 1", "lose 23", "grow 2MB 5")
    assert watched.backend.observe().status.lost == {"queue": 23}
    kept = watched.events()
    whole = Watched(stream=True).do("grow 2MB 1", "grow 2MB 5").events()
    assert len(kept) == len(whole) - 23
    gaps = {event.sequence for event in whole} - {event.sequence for event in kept}
    assert len(gaps) <= 23
    assert watched.total("hugepages_optimized") == 6


def test_losses_of_a_restarted_daemon_are_0() -> None:
    watched = Watched(stream=True).do("lose 5", "grow 2MB 1", "lose 1009", "restart", "grow 2MB 1")
    assert watched.backend.observe().status.lost == {"queue": 0}
    watched.backend.stop()


def test_losses_where_nobody_streams() -> None:
    kernel = SimKernel(huge_page_sizes=(2 * MIB,), memory_per_node=1 * GIB)
    backend = SimBackend(kernel, loses=True)
    backend.start()
    assert backend.observe().status.lost == {"queue": 0}
    backend.perform(parse_action("lose 23"))
    assert backend.observe().status.lost == {"queue": 23}
    backend.restart()
    assert backend.observe().status.lost == {"queue": 0}
    backend.stop()


def test_a_slow_machine_takes_as_many_times_as_long() -> None:
    usual = Watched().do("grow 2MB 23").optimize_times()
    slow = Watched().do("slow x8", "grow 2MB 23").optimize_times()
    assert usual.sum_ns * 7.9 < slow.sum_ns < usual.sum_ns * 8.1
    both = Watched().do("slow x8", "slow x1", "grow 2MB 23").optimize_times()
    assert both == usual


def test_a_clock_that_steps() -> None:
    watched = Watched(stream=True).do(
        "grow 2MB 1", "clock +3600", "grow 2MB 1", "clock -60", "grow 2MB 1"
    )
    times = [
        event.timestamp_ns / 1e9 for event in watched.events() if event.kind == Kind.BATCH_ENTER
    ]
    assert times[1] - times[0] == pytest.approx(3600, abs=0.1)
    assert times[2] - times[1] == pytest.approx(-60, abs=0.1)
    # Steps come between operations, so that no duration knows of them.
    assert watched.optimize_times().sum_ns < 3 * 50_000


def test_counts_alone_make_counters_equal() -> None:
    assert Counters(epoch=1) == Counters(epoch=2)


MISSES = st.builds(
    Action, st.just("miss"), st.sampled_from(STEPS[1:]), amount=st.integers(1, 9).map(float)
)


@settings(max_examples=30, deadline=None)
@given(generation=st.sampled_from(ALL), actions=st.lists(st.one_of(ACTIONS, MISSES), max_size=12))
def test_whatever_is_missed_events_reduce_to_the_counters(
    generation: str, actions: list[Operation | Action]
) -> None:
    watched = Watched(generation, stream=True)
    for action in actions:
        with suppress(OperationError):
            watched.backend.perform(action)
    watched.kernel.check_conservation()
    counters = watched.backend.observe().counters
    durations = DURATIONS if "batch" in watched.kernel.generation.symbols else PAGE_DURATIONS
    assert reduce(watched.events(), [PageKey(9, 0)], durations) == counters
