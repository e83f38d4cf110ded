# SPDX-License-Identifier: Apache-2.0
"""Latencies by operation and huge page size, and work by process, from the event stream."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from exporter.trace.histogram import PowerOfTwo
from exporter.trace.selection import step_of
from exporter.trace.table import comm_of, printable
from probes.counters import DURATIONS
from probes.events import Event, Kind
from probes.geometry import size_label

_PROCESS = "{:>7} {:<15} {:>9} {:>9} {:>7} {:>6} {:>9} {:>10}"
_PROCESS_HEADER = _PROCESS.format(
    "PID", "COMM", "OPTIMIZED", "RESTORED", "SKIPPED", "FAILED", "PTES", "TIME(ms)"
)


@dataclass
class Work:
    """What the kernel did in one process, in huge pages, PTEs and ns."""

    optimized: int = 0
    restored: int = 0
    skipped: int = 0
    """Optimizations and restores that had nothing to do."""
    failed: int = 0
    ptes: int = 0
    """Remapped and restored."""
    time_ns: int = 0
    """In the functions for one huge page; skips return at once, but are included."""

    def add(self, event: Event) -> None:
        """Count the end of an operation on one huge page."""
        self.time_ns += event.duration_ns
        self.ptes += event.ptes
        if event.ret < 0:
            self.failed += 1
        elif not event.ptes:
            self.skipped += 1
        elif event.kind == Kind.OPTIMIZE_EXIT:
            self.optimized += 1
        else:
            self.restored += 1


class Latencies:
    """Counts the ends of operations."""

    def __init__(self, page_size: int) -> None:
        """``page_size`` is the kernel's base page size in bytes."""
        self._page_size = page_size
        self._histograms: dict[tuple[str, int], PowerOfTwo] = {}
        self._work: dict[tuple[int, str], Work] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Count more events; all but ends of operations and batches are ignored.

        As in the counters, a call that had nothing to do is not timed.
        """
        for event in events:
            if event.kind in (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT):
                self._work.setdefault((event.tgid, comm_of(event)), Work()).add(event)
            elif event.kind != Kind.BATCH_EXIT:
                continue
            if event.ptes or event.ret < 0:
                key = step_of(Kind(event.kind)), self._page_size << event.order
                self._histograms.setdefault(key, PowerOfTwo()).add(event.duration_ns)

    def histograms(self) -> Iterator[tuple[str, int, PowerOfTwo]]:
        """Yield operation, huge page size in bytes and histogram, in a fixed order."""
        for name, size in sorted(self._histograms, key=lambda k: (DURATIONS.index(k[0]), k[1])):
            yield name, size, self._histograms[name, size]

    def processes(self) -> Iterator[tuple[int, str, Work]]:
        """Yield process ID, name and work, by time."""
        for (pid, comm), work in sorted(self._work.items(), key=lambda w: -w[1].time_ns):
            yield pid, comm, work

    def lines(self) -> Iterator[str]:
        """Format everything in at most 80 characters a line, or say that nothing happened."""
        if not self._work and not self._histograms:
            yield "no huge page was optimized or restored"
            return
        for name, size, histogram in self.histograms():
            yield f"{name} {size_label(size)}"
            yield from histogram.lines()
            yield ""
        yield _PROCESS_HEADER
        for pid, comm, work in self.processes():
            yield _PROCESS.format(
                *(pid, printable(comm), work.optimized, work.restored, work.skipped, work.failed),
                *(work.ptes, f"{work.time_ns / 1e6:.3f}"),
            )

    def to_json(self) -> str:
        """Format everything as one object; times are in ns, slots in microseconds."""
        return json.dumps(
            {
                "latencies": [
                    {
                        "operation": name,
                        "size": size_label(size),
                        "count": histogram.count,
                        "sum_ns": histogram.sum_ns,
                        "min_ns": histogram.min_ns,
                        "max_ns": histogram.max_ns,
                        "slots": [
                            {"from_us": low, "to_us": high, "count": count}
                            for low, high, count in histogram.slots()
                        ],
                    }
                    for name, size, histogram in self.histograms()
                ],
                "processes": [
                    {"pid": pid, "comm": comm, **_fields(work)}
                    for pid, comm, work in self.processes()
                ],
            }
        )


def _fields(work: Work) -> dict[str, Any]:
    return {field.name: getattr(work, field.name) for field in fields(Work)}
