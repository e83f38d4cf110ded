# SPDX-License-Identifier: Apache-2.0
"""Print the event stream: a table for people, one JSON object a line for programs."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator

from probes.backend import Info
from probes.events import Event, Kind, Reason, unpack_all
from probes.geometry import size_label

HEADER = (
    f"{'TIME(s)':>14} {'CPU':>3} {'PID':>7} {'COMM':<15} {'STEP':<14} {'SIZE':>5} {'NODE':>4} "
    f"{'START':>16} {'PTES':>5} {'FREED':>5} {'ALLOC':>5} {'RET':>4} {'LAT(us)':>9}"
)

_EXITS = (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT)


def first_events(blocks: Iterable[bytes], count: int | None) -> Iterator[Event]:
    """Events of ``blocks``, at most ``count`` of them; every one with None."""
    return itertools.islice((event for block in blocks for event in unpack_all(block)), count)


def line_format(info: Info, as_json: bool) -> Callable[[Event], str]:
    """Choose how an event becomes a line."""
    return (lambda event: json_line(event, info)) if as_json else lambda event: row(event, info)


def row(event: Event, info: Info) -> str:
    """One line of the table; columns that a step does not have are empty."""
    kind = Kind(event.kind)
    done = kind in _EXITS
    return (
        f"{event.timestamp_ns / 1e9:>14.6f} {event.cpu:>3} {event.pid:>7} "
        f"{_comm(event):<15} {kind.name.lower():<14} {_size(event, info):>5} {event.node:>4} "
        f"{event.start:>16x} {_number(done, event.ptes):>5} "
        f"{_number(kind == Kind.OPTIMIZE_EXIT, event.frames_freed):>5} "
        f"{_number(done, event.frames_allocated):>5} {_number(done, event.ret):>4} "
        f"{f'{event.duration_ns / 1e3:.1f}' if done else '':>9}"
    ).rstrip()


def json_line(event: Event, info: Info) -> str:
    """The whole record under its field names, with kind, reason, size and comm spelled out."""
    record = {k: v for k, v in event._asdict().items() if k not in ("order", "version")}
    record |= {
        "kind": Kind(event.kind).name.lower(),
        "reason": Reason(event.reason).name.lower(),
        "size": _size(event, info),
        "comm": _comm(event),
    }
    return json.dumps(record)


def _size(event: Event, info: Info) -> str:
    return size_label(info.page_size << event.order)


def _comm(event: Event) -> str:
    return event.comm.decode(errors="backslashreplace")


def _number(shown: bool, number: int) -> str:
    return str(number) if shown else ""
