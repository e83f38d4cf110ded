# SPDX-License-Identifier: Apache-2.0
"""Events as rows of a table: of at most 100 characters, or wide with every field."""

from collections.abc import Iterator

from exporter.errno_names import error_name
from exporter.trace.output import Output
from exporter.trace.selection import EXIT_KINDS
from exporter.trace.times import Times
from probes.events import Event, Kind, Reason
from probes.geometry import size_label
from probes.recording.gaps import Gap

WIDTH, WIDE = 100, 126
"""Widths of the two tables in characters, for a latency below 1 s and up to 999,999 PTEs."""

_NARROW = "{:>15} {:>7} {:<15} {:<14} {:>5} {:>4} {:>6} {:>6} {:>8} {}"
_WIDE = "{:>15} {:>3} {:>7} {:<15} {:<14} {:>5} {:>4} {:>16} {:>6} {:>5} {:>5} {:>8} {}"

_PAGE_EXITS = (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT)
_BATCHES = (Kind.BATCH_ENTER, Kind.BATCH_EXIT)


class Table(Output):
    """Formats events of one source."""

    def __init__(self, times: Times, page_size: int, *, wide: bool = False) -> None:
        """``page_size`` is the kernel's base page size in bytes."""
        self._times = times
        self._page_size = page_size
        self._wide = wide

    def head(self) -> Iterator[str]:
        """Lines before the first event."""
        yield self.header()

    def event(self, event: Event) -> Iterator[str]:
        """Lines of one event."""
        yield self.row(event)

    def gap(self, gap: Gap) -> Iterator[str]:
        """Lines in place of lost events."""
        yield f"-- {gap.events} events of CPU {gap.cpu} are lost here --"

    def header(self) -> str:
        """Return the titles of the columns."""
        if self._wide:
            return _WIDE.format(
                *(self._times.title, "CPU", "PID", "COMM", "STEP", "SIZE", "NODE", "START"),
                *("PTES", "FREED", "ALLOC", "LAT(us)", "RESULT"),
            )
        return _NARROW.format(
            *(self._times.title, "PID", "COMM", "STEP", "SIZE", "NODE"),
            *("PTES", "FRAMES", "LAT(us)", "RESULT"),
        )

    def row(self, event: Event) -> str:
        """Format one event; columns that do not apply to it are empty."""
        kind = Kind(event.kind)
        batch, done = kind in _BATCHES, kind in EXIT_KINDS
        time, comm, name = (
            self._times.text(event.timestamp_ns),
            printable(comm_of(event)),
            kind.name.lower(),
        )
        size = size_label(self._page_size << event.order)
        node = "" if batch else str(event.node)
        ptes = str(event.ptes) if done else ""
        latency = f"{event.duration_ns / 1e3:.1f}" if done else ""
        if not self._wide:
            return _NARROW.format(
                *(time, event.pid, comm, name, size, node, ptes),
                *(_frames(event, kind), latency, result(event)),
            ).rstrip()
        freed = str(event.frames_freed) if kind == Kind.OPTIMIZE_EXIT else ""
        allocated = str(event.frames_allocated) if kind in _PAGE_EXITS else ""
        start = "" if batch else f"{event.start:x}"
        return _WIDE.format(
            *(time, event.cpu, event.pid, comm, name, size, node, start),
            *(ptes, freed, allocated, latency, result(event)),
        ).rstrip()


def result(event: Event) -> str:
    """Return ``0``, ``-ENOMEM`` or the reason of a skip; empty for what returns no result."""
    if event.kind not in _PAGE_EXITS:
        return ""
    if event.ret < 0:
        return f"-{error_name(event.ret)}"
    return Reason(event.reason).name.lower() if event.reason else str(event.ret)


def comm_of(event: Event) -> str:
    """The task's name as text; bytes that are not text are escaped."""
    return event.comm.decode(errors="backslashreplace")


def printable(text: str) -> str:
    """Escape control characters, which a terminal would interpret, in a task's name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _frames(event: Event, kind: Kind) -> str:
    """Frames freed less frames allocated, with its sign."""
    if kind not in _PAGE_EXITS:
        return ""
    frames = event.frames_freed - event.frames_allocated
    return f"{frames:+d}" if frames else "0"
