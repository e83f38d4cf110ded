# SPDX-License-Identifier: Apache-2.0
import pytest

from exporter.trace.table import WIDE, WIDTH, Table
from exporter.trace.times import Clock, times_of
from probes.backend import Info
from probes.events import Event, Kind, Reason
from probes.recording.gaps import Gap

INFO = Info("sim", "v17", "simulated", 4096)
TIMES = times_of(Clock.KERNEL, INFO)
NARROW = Table(TIMES, 4096)
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
_LEFT = {"COMM": 15, "STEP": 14, "RESULT": 11}
"""Columns that are aligned to the left, with their widths."""


def cells(event: Event, *, wide: bool = False) -> dict[str, str]:
    """Read a row back by the columns of the header."""
    table = Table(TIMES, 4096, wide=wide)
    header, line = table.header(), table.row(event)
    found, at = {}, 0
    for name in header.split():
        title = header.index(name, at)
        start, stop = (title, title + _LEFT[name]) if name in _LEFT else (at, title + len(name))
        found[name] = line[start:stop].strip()
        at = stop
    return found


def test_a_finished_operation_fills_every_column() -> None:
    assert cells(EXIT) == {
        "TIME(s)": "1.500000",
        "PID": "42",
        "COMM": "sysctl",
        "STEP": "optimize_exit",
        "SIZE": "2MB",
        "NODE": "1",
        "PTES": "8",
        "FRAMES": "+7",
        "LAT(us)": "12.3",
        "RESULT": "0",
    }


def test_the_wide_table_has_every_field() -> None:
    wide = cells(EXIT, wide=True)
    assert wide["CPU"] == "3"
    assert wide["START"] == "ffffea0000000000"
    assert (wide["PTES"], wide["FREED"], wide["ALLOC"]) == ("8", "8", "1")
    assert wide["RESULT"] == "0"


def test_columns_that_a_step_does_not_have_are_empty() -> None:
    for wide in (False, True):
        shown = cells(EXIT._replace(kind=Kind.REMAP_PTE), wide=wide)
        assert {shown[name] for name in shown.keys() & {"PTES", "FRAMES", "FREED", "ALLOC"}} == {""}
        assert (shown["LAT(us)"], shown["RESULT"]) == ("", "")


def test_a_restore_takes_frames() -> None:
    restored = EXIT._replace(kind=Kind.RESTORE_EXIT, frames_freed=0, frames_allocated=7)
    assert cells(restored)["FRAMES"] == "-7"
    assert cells(restored, wide=True)["FREED"] == ""


@pytest.mark.parametrize(
    ("ret", "shown"),
    [(-12, "-ENOMEM"), (-524, "-ENOTSUPP"), (-95, "-EOPNOTSUPP"), (-11, "-EAGAIN")],
)
def test_an_errno_has_its_name(ret: int, shown: str) -> None:
    assert cells(EXIT._replace(ret=ret))["RESULT"] == shown


def test_a_failure_without_an_errno_is_not_given_one() -> None:
    assert cells(EXIT._replace(ret=-4095))["RESULT"] == "-failed"
    assert NARROW.row(EXIT._replace(ret=-4000)).endswith(" -errno 4000")


def test_the_skip_reason_is_shown() -> None:
    skipped = EXIT._replace(ptes=0, frames_freed=0, frames_allocated=0, reason=Reason.OFF)
    assert cells(skipped)["RESULT"] == "off"
    assert cells(skipped)["FRAMES"] == "0"


def test_a_batch_has_no_page_columns() -> None:
    batch = EXIT._replace(kind=Kind.BATCH_EXIT, node=-1, ptes=184)
    for wide in (False, True):
        shown = cells(batch, wide=wide)
        assert (shown["PTES"], shown["LAT(us)"]) == ("184", "12.3")
        page = {"NODE", "START", "FRAMES", "FREED", "ALLOC", "RESULT"}
        assert {shown[name] for name in shown.keys() & page} == {""}


@pytest.mark.parametrize(("wide", "width"), [(False, WIDTH), (True, WIDE)])
def test_rows_fit_the_stated_width(wide: bool, width: int) -> None:
    largest = EXIT._replace(
        timestamp_ns=3 * 365 * 86_400 * 10**9,
        pid=1 << 22,
        cpu=999,
        node=1023,
        ptes=999_999,
        frames_freed=99_999,
        duration_ns=999_999_900,
        comm=b"systemd-journal",
        kind=Kind.OPTIMIZE_EXIT,
        reason=Reason.UNSUPPORTED,
    )
    table = Table(TIMES, 65536, wide=wide)
    assert len(table.row(largest)) == width
    assert len(table.header()) < width


def test_control_characters_in_a_name_are_escaped() -> None:
    shown = NARROW.row(EXIT._replace(comm=b"\x1b[31mred\xff"))
    assert r"\x1b[31mred\xff" in shown
    assert shown.isprintable()


def test_a_gap_as_a_line() -> None:
    assert list(NARROW.gap(Gap(3, 509))) == ["-- 509 events of CPU 3 are lost here --"]
