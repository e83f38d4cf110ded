# SPDX-License-Identifier: Apache-2.0
import csv
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.trace.json_lines import CsvRows, JsonLines, Record
from exporter.trace.times import Clock, times_of
from probes.backend import Info, Start
from probes.events import Event, Kind, Reason
from probes.recording.gaps import Gap

INFO = Info("sim", "v17", "simulated", 4096, start=Start(1_764_000_000 * 10**9, 5 * 10**9, 10**9))
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


def as_json(event: Event, clock: Clock = Clock.KERNEL, **options: Any) -> dict[str, Any]:
    (line,) = JsonLines(Record(INFO, times_of(clock, INFO))).event(event)
    found: dict[str, Any] = json.loads(line, **options)
    return found


def rows(*events: Event | Gap, clock: Clock = Clock.KERNEL) -> list[dict[str, str]]:
    """Read the CSV back with the standard library."""
    output = CsvRows(Record(INFO, times_of(clock, INFO)))
    lines = list(output.head())
    for what in events:
        lines += output.gap(what) if isinstance(what, Gap) else output.event(what)
    return list(csv.DictReader(f"{line}\n" for line in lines))


def test_json_spells_out_names() -> None:
    record = as_json(EXIT._replace(reason=Reason.OFF, comm=b"\xff", end=EXIT.start + 64))
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
    exact = as_json(event)
    assert as_json(event, parse_int=float) == exact
    assert [int(exact[name], 16) for name in ("start", "end", "reuse")] == [top, top - 1, top - 2]


def test_json_names_the_errno_of_a_failure() -> None:
    failed = as_json(EXIT._replace(ret=-12))
    assert (failed["ret"], failed["error"]) == (-12, "ENOMEM")
    assert "error" not in as_json(EXIT)


def test_json_has_the_other_clocks() -> None:
    wall, elapsed = as_json(EXIT, Clock.WALL), as_json(EXIT, Clock.ELAPSED)
    assert datetime.fromisoformat(wall["time"]) == datetime(2025, 11, 24, 16, 0, 0, 500_000, UTC)
    assert elapsed["seconds"] == 0.5
    assert wall["timestamp_ns"] == elapsed["timestamp_ns"] == EXIT.timestamp_ns


def test_a_gap_as_json() -> None:
    (line,) = JsonLines(Record(INFO, times_of(Clock.KERNEL, INFO))).gap(Gap(3, 509))
    assert json.loads(line) == {"kind": "lost", "cpu": 3, "events": 509}


@pytest.mark.parametrize("clock", Clock)
def test_csv_has_what_json_has(clock: Clock) -> None:
    failed = EXIT._replace(ret=-12, comm=b'a,"b"\n')
    (row,) = rows(failed, clock=clock)
    assert row == {name: str(value) for name, value in as_json(failed, clock).items()}


def test_csv_leaves_empty_what_an_event_does_not_have() -> None:
    done, lost = rows(EXIT, Gap(3, 509))
    assert done["error"] == ""
    assert {name: value for name, value in lost.items() if value} == {
        "kind": "lost",
        "cpu": "3",
        "sequence": "509",
    }


def test_every_source_without_a_known_start_has_the_kernels_clock() -> None:
    info = replace(INFO, start=None)
    assert Record(info, times_of(Clock.KERNEL, info)).of(EXIT)["timestamp_ns"] == 1_500_000_000
