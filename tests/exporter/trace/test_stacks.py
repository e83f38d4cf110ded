# SPDX-License-Identifier: Apache-2.0
from exporter.trace.stacks import MISSED, Folded, WithStacks, calls, microseconds
from exporter.trace.table import Table
from exporter.trace.times import Clock, times_of
from probes.backend import Info
from probes.events import WITH_STACKS, Event, Kind
from probes.recording.gaps import Gap

EXIT = Event(
    kind=Kind.OPTIMIZE_EXIT, order=9, comm=b"sysctl", version=WITH_STACKS, duration_ns=5_600
)
FRAMES = ("optimize+0x5", "grow+0x17", "write+0x0 [module]")
TABLE = Table(times_of(Clock.KERNEL, Info("sim", "7.3", "simulated", 4096)), 4096)


def frames_of(event: Event) -> tuple[str, ...]:
    return FRAMES if event.stack else ()


def test_a_stack_is_below_the_exit_of_its_operation() -> None:
    output = WithStacks(TABLE, frames_of)
    assert list(output.head()) == list(TABLE.head())
    row, *frames = output.event(EXIT._replace(reuse=1))
    assert row == TABLE.row(EXIT)
    assert [frame.strip() for frame in frames] == list(FRAMES)
    assert all(frame.startswith("        ") for frame in frames)
    assert len(list(output.event(EXIT._replace(kind=Kind.OPTIMIZE_ENTER, reuse=1)))) == 1
    assert list(output.gap(Gap(3, 23))) == list(TABLE.gap(Gap(3, 23)))


def test_a_missing_stack_is_not_an_empty_one() -> None:
    _, frame = WithStacks(TABLE, frames_of).event(EXIT)
    assert frame.strip() == MISSED


def folded(output: Folded, *events: Event) -> list[str]:
    for event in events:
        assert list(output.event(event)) == []
    return list(output.tail())


def test_folded_stacks_begin_with_the_task_and_end_innermost() -> None:
    stacked = EXIT._replace(reuse=1)
    restored = stacked._replace(kind=Kind.RESTORE_EXIT, duration_ns=9_000)
    entered = stacked._replace(kind=Kind.OPTIMIZE_ENTER)
    batch = stacked._replace(kind=Kind.BATCH_EXIT)
    events = (entered, stacked, restored, batch, EXIT)
    assert folded(Folded(frames_of, calls), *events) == [
        f"sysctl;{MISSED} 1",
        "sysctl;write;grow;optimize 2",
    ]
    assert folded(Folded(frames_of, microseconds), *events) == [
        f"sysctl;{MISSED} 6",
        "sysctl;write;grow;optimize 15",
    ]


def test_a_name_does_not_break_the_line() -> None:
    named = EXIT._replace(comm=b"a;b\n")
    assert folded(Folded(frames_of, calls), named) == [f"a:b\\n;{MISSED} 1"]
