# SPDX-License-Identifier: Apache-2.0
"""Format the event stream: a table for people, JSON lines for programs."""

import json
from collections.abc import Callable, Iterator
from heapq import merge

from exporter.trace.selection import EXIT_KINDS, Selection
from probes.backend import Info
from probes.events import Event, Kind, Reason
from probes.geometry import size_label
from probes.recording.gaps import Gap, GapFinder

HEADER = (
    f"{'TIME(s)':>14} {'CPU':>3} {'PID':>7} {'COMM':<15} {'STEP':<14} {'SIZE':>5} {'NODE':>4} "
    f"{'START':>16} {'PTES':>5} {'FREED':>5} {'ALLOC':>5} {'RET':>4} {'LAT(us)':>9} REASON"
)

_PAGE_EXITS = (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT)
_BATCHES = (Kind.BATCH_ENTER, Kind.BATCH_EXIT)

Line = Callable[[Event | Gap], str]


def line_format(info: Info, as_json: bool) -> Line:
    """Return the function that formats an event, or a gap between events, as a line."""
    if as_json:
        return lambda what: json_gap(what) if isinstance(what, Gap) else json_line(what, info)
    return lambda what: gap_row(what) if isinstance(what, Gap) else row(what, info)


def events_and_gaps(
    block: bytes, info: Info, selection: Selection, finder: GapFinder
) -> Iterator[Event | Gap]:
    """Yield the selected events of the next block, and every gap in its place."""
    gaps: Iterator[tuple[int, Event | Gap]] = finder.gaps(block)
    events: Iterator[tuple[int, Event | Gap]] = selection.of(block, info.page_size)
    return (what for _, what in merge(gaps, events, key=lambda numbered: numbered[0]))


def row(event: Event, info: Info) -> str:
    """Format one row of the table; columns that do not apply to the event are empty."""
    kind = Kind(event.kind)
    batch, done, page_done = kind in _BATCHES, kind in EXIT_KINDS, kind in _PAGE_EXITS
    return (
        f"{event.timestamp_ns / 1e9:>14.6f} {event.cpu:>3} {event.pid:>7} "
        f"{_printable(_comm(event)):<15} {kind.name.lower():<14} {_size(event, info):>5} "
        f"{_number(not batch, event.node):>4} {f'{event.start:x}' if not batch else '':>16} "
        f"{_number(done, event.ptes):>5} "
        f"{_number(kind == Kind.OPTIMIZE_EXIT, event.frames_freed):>5} "
        f"{_number(page_done, event.frames_allocated):>5} {_number(page_done, event.ret):>4} "
        f"{f'{event.duration_ns / 1e3:.1f}' if done else '':>9} {_reason(event)}"
    ).rstrip()


def gap_row(gap: Gap) -> str:
    """Format a line that stands in place of lost events."""
    return f"-- {gap.events} events of CPU {gap.cpu} are lost here --"


def json_line(event: Event, info: Info) -> str:
    """Format a record under its field names, with kind, reason, size and comm as text.

    Addresses are hexadecimal strings, ``0x0`` if the event has none: programs that read JSON
    numbers as doubles would round them above 2**53.
    """
    record = {k: v for k, v in event._asdict().items() if k not in ("order", "version")}
    record |= {name: hex(record[name]) for name in ("start", "end", "reuse")}
    record |= {
        "kind": Kind(event.kind).name.lower(),
        "reason": Reason(event.reason).name.lower(),
        "size": _size(event, info),
        "comm": _comm(event),
    }
    return json.dumps(record)


def json_gap(gap: Gap) -> str:
    """Format a gap as an object of the kind ``lost``."""
    return json.dumps({"kind": "lost", "cpu": gap.cpu, "events": gap.events})


def _size(event: Event, info: Info) -> str:
    return size_label(info.page_size << event.order)


def _comm(event: Event) -> str:
    return event.comm.decode(errors="backslashreplace")


def _printable(text: str) -> str:
    """Escape control characters, which a terminal would interpret, in a task's name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _reason(event: Event) -> str:
    return Reason(event.reason).name.lower() if event.reason else ""


def _number(shown: bool, number: int) -> str:
    return str(number) if shown else ""
