# SPDX-License-Identifier: Apache-2.0
import json

from exporter.trace import HEADER, first_events, json_line, row
from probes.backend import Info
from probes.events import Event, Kind, Reason

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
        left = name in ("COMM", "STEP")
        width = {"COMM": 15, "STEP": 14}.get(name, 0)
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
    }


def test_columns_that_a_step_does_not_have_are_empty() -> None:
    shown = cells(row(EXIT._replace(kind=Kind.REMAP_PTE), INFO))
    assert [shown[name] for name in ("PTES", "FREED", "ALLOC", "RET", "LAT(us)")] == [""] * 5
    restored = cells(row(EXIT._replace(kind=Kind.RESTORE_EXIT, ret=-12), INFO))
    assert (restored["FREED"], restored["RET"]) == ("", "-12")


def test_json_spells_out_names() -> None:
    record = json.loads(json_line(EXIT._replace(reason=Reason.OFF, comm=b"\xff"), INFO))
    assert record["kind"] == "optimize_exit"
    assert record["reason"] == "off"
    assert record["size"] == "2MB"
    assert record["comm"] == "\\xff"
    assert record["start"] == 0xFFFFEA0000000000
    assert "order" not in record


def test_count_stops_within_a_block() -> None:
    blocks = [b"", EXIT.pack() * 3, EXIT.pack() * 3]
    assert len(list(first_events(blocks, 4))) == 4
    assert len(list(first_events(blocks, None))) == 6
