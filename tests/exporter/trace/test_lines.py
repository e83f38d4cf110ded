# SPDX-License-Identifier: Apache-2.0
import json

from exporter.trace.lines import HEADER, events_and_gaps, json_line, line_format, row
from exporter.trace.selection import Selection
from probes.backend import Info
from probes.events import Event, Kind, Reason
from probes.recording.gaps import Gap, GapFinder

INFO = Info("sim", "v17", "simulated", 4096)
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


def cells(line: str) -> dict[str, str]:
    """Read a row back by the columns of the header."""
    result, at = {}, 0
    for name in HEADER.split():
        end = HEADER.index(name, at) + len(name)
        width = {"COMM": 15, "STEP": 14, "REASON": 11}.get(name, 0)
        left = width > 0
        start = HEADER.index(name, at) if left else at
        stop = start + width if left else end
        result[name] = line[start:stop].strip()
        at = stop
    return result


def test_a_finished_operation_fills_every_column() -> None:
    assert cells(row(EXIT, INFO)) == {
        "TIME(s)": "1.500000",
        "CPU": "3",
        "PID": "42",
        "COMM": "sysctl",
        "STEP": "optimize_exit",
        "SIZE": "2MB",
        "NODE": "1",
        "START": "ffffea0000000000",
        "PTES": "8",
        "FREED": "8",
        "ALLOC": "1",
        "RET": "0",
        "LAT(us)": "12.3",
        "REASON": "",
    }


def test_columns_that_a_step_does_not_have_are_empty() -> None:
    shown = cells(row(EXIT._replace(kind=Kind.REMAP_PTE), INFO))
    assert [shown[name] for name in ("PTES", "FREED", "ALLOC", "RET", "LAT(us)")] == [""] * 5
    restored = cells(row(EXIT._replace(kind=Kind.RESTORE_EXIT, ret=-12), INFO))
    assert (restored["FREED"], restored["RET"]) == ("", "-12")


def test_json_spells_out_names() -> None:
    event = EXIT._replace(reason=Reason.OFF, comm=b"\xff", end=EXIT.start + 64)
    record = json.loads(json_line(event, INFO))
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
    record = json.loads(json_line(event, INFO), parse_int=float)
    exact = json.loads(json_line(event, INFO))
    assert record == exact
    assert [int(exact[name], 16) for name in ("start", "end", "reuse")] == [top, top - 1, top - 2]


def test_control_characters_in_a_name_are_escaped() -> None:
    shown = row(EXIT._replace(comm=b"\x1b[31mred\xff"), INFO)
    assert r"\x1b[31mred\xff" in shown
    assert shown.isprintable()


def test_the_skip_reason_is_shown() -> None:
    skipped = EXIT._replace(ptes=0, frames_freed=0, frames_allocated=0, reason=Reason.OFF)
    assert cells(row(skipped, INFO))["REASON"] == "off"


def test_a_batch_has_no_page_columns() -> None:
    shown = cells(row(EXIT._replace(kind=Kind.BATCH_EXIT, node=-1, ptes=184), INFO))
    assert (shown["PTES"], shown["LAT(us)"]) == ("184", "12.3")
    assert [shown[name] for name in ("NODE", "START", "FREED", "ALLOC", "RET")] == [""] * 5


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


def test_a_gap_as_a_line() -> None:
    assert line_format(INFO, False)(Gap(3, 509)) == "-- 509 events of CPU 3 are lost here --"
    gap = {"kind": "lost", "cpu": 3, "events": 509}
    assert json.loads(line_format(INFO, True)(Gap(3, 509))) == gap
