# SPDX-License-Identifier: Apache-2.0
"""The trace as Perfetto reads it: slices of a track are nested, and hold the events' numbers."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from exporter.trace.chrome import ChromeTrace
from probes.backend import Info
from probes.events import Event, Kind, unpack_all
from probes.geometry import MIB
from probes.observation import Absent, Memmap, Observation, Pool, Pools
from probes.operations import parse_operation
from probes.recording.gaps import Gap
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel

INFO = Info("bcc", "6.1.0-test", "full", 4096)
ENTER = Event(kind=Kind.OPTIMIZE_ENTER, order=9, pid=509, tgid=23, comm=b"sysctl", cpu=3)
EXIT = ENTER._replace(kind=Kind.OPTIMIZE_EXIT, ptes=7, frames_freed=7)
Entry = dict[str, Any]


def at(event: Event, ns: int, duration_ns: int = 0, **fields: Any) -> Event:
    return event._replace(timestamp_ns=ns, duration_ns=duration_ns, **fields)


def trace(
    events: Iterable[Event | Gap], seen: Iterable[Observation] = (), info: Info = INFO
) -> list[Entry]:
    """Return the entries of the whole trace."""
    output = ChromeTrace(info)
    lines = list(output.head())
    for what in events:
        lines += output.gap(what) if isinstance(what, Gap) else output.event(what)
    for one in seen:
        lines += output.observed(one)
    lines += output.tail()
    found = json.loads("\n".join(lines))
    assert found["displayTimeUnit"] == "ns"
    entries: list[Entry] = found["traceEvents"]
    return entries


def slices(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry["ph"] == "X"]


def names(entries: Iterable[Entry]) -> dict[tuple[int, int], str]:
    """Names of tracks, by process and thread."""
    named = (entry for entry in entries if entry["name"] == "thread_name")
    return {(entry["pid"], entry["tid"]): entry["args"]["name"] for entry in named}


def assert_nested(entries: Iterable[Entry]) -> None:
    """As the format demands: of two slices of a track, one contains the other, or none overlap."""
    tracks = defaultdict(list)
    for one in slices(entries):
        begin = round(one["ts"] * 1000)
        tracks[one["pid"], one["tid"]].append((begin, -begin - round(one["dur"] * 1000)))
    for track in tracks.values():
        open_until: list[int] = []
        for begin, minus_end in sorted(track):
            while open_until and open_until[-1] <= begin:
                open_until.pop()
            assert not open_until or -minus_end <= open_until[-1]
            open_until.append(-minus_end)


def test_an_operation_is_a_slice_of_its_task_and_its_cpu() -> None:
    entries = trace([at(ENTER, 1_000), at(EXIT, 6_100, 5_000)])
    of_task, of_cpu = slices(entries)
    assert (of_task["pid"], of_task["tid"]) == (23, 509)
    assert (of_task["ts"], of_task["dur"], of_task["name"]) == (1.0, 5.1, "optimize 2MB")
    assert of_task["args"]["latency_ns"] == 5_000
    assert (of_task["args"]["ptes"], of_task["args"]["result"]) == (7, "0")
    tracks = names(entries)
    assert tracks[23, 509] == "sysctl"
    assert tracks[of_cpu["pid"], of_cpu["tid"]] == "CPU 3"


def test_an_operation_that_moved_has_no_cpu() -> None:
    (only,) = slices(trace([at(ENTER, 1_000), at(EXIT, 6_000, 5_000, cpu=4)]))
    assert only["tid"] == 509


def test_without_its_entry_an_operation_begins_its_latency_ago() -> None:
    (only,) = slices(trace([at(EXIT, 6_000, 4_000)]))
    assert (only["ts"], only["dur"]) == (2.0, 4.0)


def test_operations_that_interrupt_each_other_have_two_tracks() -> None:
    other = {"pid": 1009, "tgid": 1009}
    entries = trace(
        [
            *(at(ENTER, 1_000), at(ENTER, 2_000, **other)),
            *(at(EXIT, 3_000, 2_000), at(EXIT, 4_000, 2_000, **other)),
            *(at(ENTER, 5_000), at(EXIT, 6_000, 1_000)),
        ]
    )
    assert_nested(entries)
    assert sorted(names(entries).values()) == ["CPU 3", "CPU 3 (2)", "sysctl", "sysctl"]


def test_an_operation_that_does_not_end_is_open() -> None:
    entries = trace([at(ENTER, 1_000)])
    (begun,) = [entry for entry in entries if entry["ph"] == "B"]
    assert (begun["ts"], begun["tid"], begun["name"]) == (1.0, 509, "optimize 2MB")


def test_lost_events_are_marked_where_they_are_missing() -> None:
    entries = trace([at(ENTER, 1_000), at(EXIT, 6_000), Gap(3, 509)])
    (lost,) = [entry for entry in entries if entry["ph"] == "i"]
    assert (lost["name"], lost["ts"], lost["tid"]) == ("509 events lost", 6.0, 3)


def test_what_is_observed_becomes_counters_and_what_is_not_does_not() -> None:
    pools = Pools((Pool(2 * MIB, 1, "total", 23), Pool(2 * MIB, 1, "free", 5)))
    known = Observation(7_000, pools=pools, memmap=Memmap({"boot": 509}, Absent("before 6.11")))
    unknown = Observation(9_000, pools=Absent("no sysfs"), memmap=Absent("no vmstat"))
    counters = [entry for entry in trace([], [known, unknown]) if entry["ph"] == "C"]
    assert [(entry["name"], entry["ts"], entry["args"]) for entry in counters] == [
        ("2MB pages, node 1", 7.0, {"total": 23, "free": 5}),
        ("memmap boot", 7.0, {"bytes": 509 * 4096}),
    ]


def test_a_simulated_kernels_trace_is_nested_and_complete() -> None:
    backend = SimBackend(SimKernel("7.3", nodes=2), stream=True)
    backend.start()
    for text in ("grow 2MB 23", "grow 1GB 1", "shrink 2MB 23", "demote 1GB 1"):
        backend.operate(parse_operation(text))
    info, seen = backend.info, backend.observe()
    backend.stop()
    events = [event for block in backend.records() for event in unpack_all(block)]
    entries = trace(events, [seen], info)
    assert_nested(entries)
    ptes = seen.counters.total("ptes_remapped")
    of_tasks = [one for one in slices(entries) if one["args"]["comm"] and one["pid"] < 1 << 30]
    optimized = [one for one in of_tasks if one["name"].startswith("optimize")]
    assert sum(one["args"]["ptes"] for one in optimized) == ptes
    exits = [event for event in events if event.kind in (2, 6, 9)]
    assert len(of_tasks) == len(exits)
    counters = {entry["name"] for entry in entries if entry["ph"] == "C"}
    assert {"2MB pages, node 0", "1GB pages, node 1", "memmap saved"} <= counters
