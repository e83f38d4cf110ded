# SPDX-License-Identifier: Apache-2.0
"""Events as JSON lines, and as rows of CSV."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from exporter.errno_names import error_name
from exporter.trace.output import Output
from exporter.trace.selection import ENTER_OR_EXIT_KINDS
from exporter.trace.stacks import FramesOf
from exporter.trace.table import comm_of
from exporter.trace.times import Clock, Times
from exporter.units import local_time
from probes.backend import Info
from probes.events import FIELDS, Event, Kind, Reason
from probes.geometry import size_label
from probes.recording.gaps import Gap

_ADDRESSES = ("start", "end", "reuse")
_LEFT_OUT = ("order", "version")
_CLOCK_FIELD = {Clock.WALL: "time", Clock.ELAPSED: "seconds"}


class Record:
    """Converts events of one source to fields, with kind, reason, size and comm as text.

    Addresses are hexadecimal strings, ``0x0`` if the event has none: programs that read JSON
    numbers as doubles would round them above 2**53. A failure has the name of its errno. ``time``
    is ISO 8601, or ``seconds`` those since the start, if one of these clocks is to be shown. With
    ``frames_of``, events that can have one have a ``stack``, innermost first.
    """

    def __init__(self, info: Info, times: Times, frames_of: FramesOf | None = None) -> None:
        self._info = info
        self._clock = times.clock
        self._frames_of = frames_of

    def names(self) -> list[str]:
        """All fields that a record can have, in order."""
        own = [name for name, _ in FIELDS if name not in _LEFT_OUT]
        clock = filter(None, [_CLOCK_FIELD.get(self._clock)])
        return [*own, "size", "error", *clock, *(["stack"] if self._frames_of else [])]

    def of(self, event: Event) -> dict[str, Any]:
        """Convert one event."""
        record = {k: v for k, v in event._asdict().items() if k not in _LEFT_OUT}
        record |= {name: hex(record[name]) for name in _ADDRESSES}
        record |= {
            "kind": Kind(event.kind).name.lower(),
            "reason": Reason(event.reason).name.lower(),
            "size": size_label(self._info.page_size << event.order),
            "comm": comm_of(event),
        }
        if event.ret < 0:
            record["error"] = error_name(event.ret)
        if event.stack:
            record["reuse"] = hex(0)
        if self._frames_of and event.kind in ENTER_OR_EXIT_KINDS:
            record["stack"] = list(self._frames_of(event))
        return record | self._time(event.timestamp_ns)

    def _time(self, timestamp_ns: int) -> dict[str, Any]:
        start = self._info.start
        if start is None or start.events_ns is None:
            return {}
        passed = timestamp_ns - start.events_ns
        if self._clock is Clock.WALL:
            return {"time": local_time(passed + start.wall_ns).isoformat()}
        return {"seconds": passed / 1e9} if self._clock is Clock.ELAPSED else {}


class JsonLines(Output):
    """One object per line; a gap is an object of the kind ``lost``."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def event(self, event: Event) -> Iterator[str]:
        """Lines of one event."""
        yield json.dumps(self._record.of(event))

    def gap(self, gap: Gap) -> Iterator[str]:
        """Lines in place of lost events."""
        yield json.dumps({"kind": "lost", "cpu": gap.cpu, "events": gap.events})


class CsvRows(Output):
    """A header and one row per event (RFC 4180, but lines end as all others do).

    A stack is one field, with semicolons. A gap is a row of the kind ``lost`` with its CPU;
    ``sequence`` is the number of lost events.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._names = record.names()

    def head(self) -> Iterator[str]:
        """Lines before the first event."""
        yield self._row({name: name for name in self._names})

    def event(self, event: Event) -> Iterator[str]:
        """Lines of one event."""
        record = self._record.of(event)
        yield self._row(
            record | {"stack": ";".join(record["stack"])} if "stack" in record else record
        )

    def gap(self, gap: Gap) -> Iterator[str]:
        """Lines in place of lost events."""
        yield self._row({"kind": "lost", "cpu": gap.cpu, "sequence": gap.events})

    def _row(self, values: dict[str, Any]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._names, lineterminator="").writerow(values)
        return text.getvalue()
