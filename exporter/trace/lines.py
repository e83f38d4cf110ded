# SPDX-License-Identifier: Apache-2.0
"""Format the event stream: a table for people, JSON lines for programs."""

import json
from collections.abc import Callable, Iterator
from heapq import merge

from exporter.errno_names import error_name
from exporter.trace.selection import Selection
from exporter.trace.table import Table, comm_of
from exporter.trace.times import Clock, Times
from exporter.units import local_time
from probes.backend import Info
from probes.events import Event, Kind, Reason
from probes.geometry import size_label
from probes.recording.gaps import Gap, GapFinder

Line = Callable[[Event | Gap], str]

_ADDRESSES = ("start", "end", "reuse")


def table_lines(table: Table) -> Line:
    """Return the function that formats an event, or a gap between events, as a row."""
    return lambda what: table.gap(what) if isinstance(what, Gap) else table.row(what)


def json_lines(info: Info, times: Times) -> Line:
    """Return the function that formats an event, or a gap between events, as JSON."""
    return lambda what: json_gap(what) if isinstance(what, Gap) else json_line(what, info, times)


def events_and_gaps(
    block: bytes, info: Info, selection: Selection, finder: GapFinder
) -> Iterator[Event | Gap]:
    """Yield the selected events of the next block, and every gap in its place."""
    gaps: Iterator[tuple[int, Event | Gap]] = finder.gaps(block)
    events: Iterator[tuple[int, Event | Gap]] = selection.of(block, info.page_size)
    return (what for _, what in merge(gaps, events, key=lambda numbered: numbered[0]))


def json_line(event: Event, info: Info, times: Times) -> str:
    """Format a record under its field names, with kind, reason, size and comm as text.

    Addresses are hexadecimal strings, ``0x0`` if the event has none: programs that read JSON
    numbers as doubles would round them above 2**53. A failure has the name of its errno. ``time``
    is ISO 8601, or seconds since the start, if one of these clocks is to be shown.
    """
    record = {k: v for k, v in event._asdict().items() if k not in ("order", "version")}
    record |= {name: hex(record[name]) for name in _ADDRESSES}
    record |= {
        "kind": Kind(event.kind).name.lower(),
        "reason": Reason(event.reason).name.lower(),
        "size": size_label(info.page_size << event.order),
        "comm": comm_of(event),
    }
    if event.ret < 0:
        record["error"] = error_name(event.ret)
    if info.start is not None and info.start.events_ns is not None:
        passed = event.timestamp_ns - info.start.events_ns
        if times.clock is Clock.WALL:
            record["time"] = local_time(passed + info.start.wall_ns).isoformat()
        elif times.clock is Clock.ELAPSED:
            record["seconds"] = passed / 1e9
    return json.dumps(record)


def json_gap(gap: Gap) -> str:
    """Format a gap as an object of the kind ``lost``."""
    return json.dumps({"kind": "lost", "cpu": gap.cpu, "events": gap.events})
