# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from datetime import UTC, datetime

from exporter.trace.lines import events_and_gaps, json_line, json_lines, table_lines
from exporter.trace.selection import Selection
from exporter.trace.table import Table
from exporter.trace.times import Clock, times_of
from probes.backend import Info, Start
from probes.events import Event, Kind, Reason
from probes.recording.gaps import Gap, GapFinder

INFO = Info("sim", "v17", "simulated", 4096)
TIMES = times_of(Clock.KERNEL, INFO)
EXIT = Event(
    timestamp_ns=1_500_000_000,
    kind=Kind.OPTIMIZE_EXIT,
    pid=42,
    cpu=3,
    node=1,
    order=9,
    start=0xFFFFEA0000000000,
    ptes=8,
    frames_freed=8,
    frames_allocated=1,
    duration_ns=12_345,
    comm=b"sysctl",
)


def test_json_spells_out_names() -> None:
    event = EXIT._replace(reason=Reason.OFF, comm=b"\xff", end=EXIT.start + 64)
    record = json.loads(json_line(event, INFO, TIMES))
    assert record["kind"] == "optimize_exit"
    assert record["reason"] == "off"
    assert record["size"] == "2MB"
    assert record["comm"] == "\\xff"
    assert [record[name] for name in ("start", "end", "reuse")] == [
        "0xffffea0000000000",
        "0xffffea0000000040",
        "0x0",
    ]
    assert "order" not in record


def test_json_numbers_are_exact_as_doubles() -> None:
    """As jq and JavaScript read them, up to 104 days after boot."""
    top = 2**64 - 1
    event = EXIT._replace(start=top, end=top - 1, reuse=top - 2, timestamp_ns=2**53)
    record = json.loads(json_line(event, INFO, TIMES), parse_int=float)
    exact = json.loads(json_line(event, INFO, TIMES))
    assert record == exact
    assert [int(exact[name], 16) for name in ("start", "end", "reuse")] == [top, top - 1, top - 2]


def test_gaps_are_printed_in_their_place() -> None:
    block = b"".join(
        EXIT._replace(cpu=cpu, sequence=sequence).pack()
        for cpu, sequence in ((3, 0), (3, 1), (1, 0), (3, 5), (1, 23))
    )
    finder = GapFinder()
    found = list(events_and_gaps(block, INFO, Selection(), finder))
    gaps = [(number, what) for number, what in enumerate(found) if isinstance(what, Gap)]
    assert gaps == [(3, Gap(3, 3)), (5, Gap(1, 22))]
    assert finder.events == 25
    later = EXIT._replace(cpu=1, sequence=24).pack() + EXIT._replace(cpu=2, sequence=9).pack()
    found = list(events_and_gaps(later, INFO, Selection(failed=True), finder))
    assert found == [Gap(2, 9)]


def test_json_names_the_errno_of_a_failure() -> None:
    failed = json.loads(json_line(EXIT._replace(ret=-12), INFO, TIMES))
    assert (failed["ret"], failed["error"]) == (-12, "ENOMEM")
    assert "error" not in json.loads(json_line(EXIT, INFO, TIMES))


def test_json_has_the_other_clocks() -> None:
    started = replace(INFO, start=Start(1_764_000_000 * 10**9, 0, 10**9))
    wall = json.loads(json_line(EXIT, started, times_of(Clock.WALL, started)))
    assert datetime.fromisoformat(wall["time"]) == datetime(2025, 11, 24, 16, 0, 0, 500_000, UTC)
    elapsed = json.loads(json_line(EXIT, started, times_of(Clock.ELAPSED, started)))
    assert elapsed["seconds"] == 0.5
    assert wall["timestamp_ns"] == elapsed["timestamp_ns"] == EXIT.timestamp_ns


def test_a_gap_as_a_line() -> None:
    table = table_lines(Table(TIMES, 4096))
    assert table(Gap(3, 509)) == "-- 509 events of CPU 3 are lost here --"
    gap = {"kind": "lost", "cpu": 3, "events": 509}
    assert json.loads(json_lines(INFO, TIMES)(Gap(3, 509))) == gap
