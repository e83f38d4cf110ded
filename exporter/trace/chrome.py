# SPDX-License-Identifier: Apache-2.0
"""Events in Chrome's Trace Event Format, which Perfetto (ui.perfetto.dev) and others open.

An operation is a slice on the track of its task, and on that of its CPU if it began and ended
there. The format demands that slices of one track are nested, so a CPU has a second track for
operations that interrupted each other. Observations become counters. Times are microseconds of the
events' clock.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from exporter.trace.output import Output
from exporter.trace.selection import EXIT_KINDS, step_of
from exporter.trace.stacks import FramesOf
from exporter.trace.table import comm_of, result
from probes.backend import Info
from probes.events import Event, Kind
from probes.geometry import size_label
from probes.observation import Memmap, Observation, Pools
from probes.recording.gaps import Gap

_CPUS, _COUNTERS = 1 << 30, (1 << 30) + 1
"""Numbers of the processes that stand for CPUs and counters: above every process of the kernel
(PID_MAX_LIMIT of include/linux/threads.h)."""
_LANES = 1 << 16
"""Track numbers per lane: more than a kernel has CPUs."""
_REMEMBERED = 64
_ENTERS = {Kind.OPTIMIZE_ENTER, Kind.RESTORE_ENTER, Kind.BATCH_ENTER}


class _Slice(NamedTuple):
    begin: int
    end: int

    def crosses(self, other: "_Slice") -> bool:
        """Tell whether the two overlap and neither contains the other."""
        first, second = sorted((self, other), key=lambda one: (one.begin, -one.end))
        return first.begin < second.begin < first.end < second.end


class _Lanes:
    """Tracks of one CPU, in each of which slices are nested."""

    def __init__(self) -> None:
        self._lanes: list[deque[_Slice]] = []

    def place(self, new: _Slice) -> int:
        """Return the number of the first track that the slice fits into."""
        for number, lane in enumerate(self._lanes):
            if not any(new.crosses(old) for old in lane):
                lane.append(new)
                return number
        self._lanes.append(deque([new], maxlen=_REMEMBERED))
        return len(self._lanes) - 1


class ChromeTrace(Output):
    """One JSON object over many lines, complete after ``tail``."""

    observes = True

    def __init__(self, info: Info, frames_of: FramesOf | None = None) -> None:
        """With ``frames_of``, a slice has the kernel stack among its arguments."""
        self._info = info
        self._frames_of = frames_of
        self._begun: dict[tuple[int, str], Event] = {}
        self._threads: dict[int, bytes] = {}
        self._cpus: dict[int, _Lanes] = {}
        self._named: set[tuple[int, int]] = set()
        self._last_ns = 0
        self._separator = ""

    def head(self) -> Iterator[str]:
        """Lines before the first event."""
        about = {"kernel": self._info.kernel, "mode": self._info.mode}
        yield f'{{"displayTimeUnit": "ns", "otherData": {json.dumps(about)}, "traceEvents": ['
        yield self._entry("M", _CPUS, name="process_name", args={"name": "CPUs"})
        yield self._entry("M", _COUNTERS, name="process_name", args={"name": "HugeTLB"})

    def event(self, event: Event) -> Iterator[str]:
        """Lines of one event."""
        self._last_ns = max(self._last_ns, event.timestamp_ns)
        key = event.pid, step_of(Kind(event.kind))
        if event.kind in _ENTERS:
            self._begun[key] = event
        elif event.kind in EXIT_KINDS:
            yield from self._operation(self._begun.pop(key, None), event)

    def gap(self, gap: Gap) -> Iterator[str]:
        """Lines in place of lost events."""
        text = f"{gap.events} events lost"
        yield self._entry("i", _CPUS, gap.cpu, name=text, ts=self._last_ns, s="t")

    def observed(self, seen: Observation) -> Iterator[str]:
        """Counters of one observation."""
        simulated = self._info.mode == "simulated"  # its events have another clock
        at = self._last_ns if simulated else seen.time_ns
        if not at:
            return
        for name, series in _counters(seen, self._info.page_size):
            yield self._entry("C", _COUNTERS, name=name, ts=at, args=series)

    def tail(self) -> Iterator[str]:
        """Lines after the last event."""
        for begun in self._begun.values():  # Perfetto shows it as a slice that did not end
            yield from self._thread_name(begun)
            name = self._name(begun)
            yield self._entry("B", begun.tgid, begun.pid, name=name, ts=begun.timestamp_ns)
        yield "]}"

    def _operation(self, begun: Event | None, end: Event) -> Iterator[str]:
        begin_ns = begun.timestamp_ns if begun else end.timestamp_ns - end.duration_ns
        one = _Slice(begin_ns, end.timestamp_ns)
        fields: dict[str, Any] = {
            "name": self._name(end),
            "ts": one.begin,
            "dur": one.end - one.begin,
            "args": self._arguments(end),
        }
        yield from self._thread_name(end)
        yield self._entry("X", end.tgid, end.pid, **fields)
        if begun is None or begun.cpu != end.cpu:
            return
        lane = self._cpus.setdefault(end.cpu, _Lanes()).place(one)
        track = lane * _LANES + end.cpu
        if (_CPUS, track) not in self._named:
            self._named.add((_CPUS, track))
            title = f"CPU {end.cpu}" + (f" ({lane + 1})" if lane else "")
            yield self._entry("M", _CPUS, track, name="thread_name", args={"name": title})
        yield self._entry("X", _CPUS, track, **fields)

    def _thread_name(self, event: Event) -> Iterator[str]:
        if self._threads.get(event.pid) != event.comm:
            self._threads[event.pid] = event.comm
            name = {"name": comm_of(event)}
            yield self._entry("M", event.tgid, event.pid, name="thread_name", args=name)

    def _name(self, event: Event) -> str:
        size = size_label(self._info.page_size << event.order)
        return f"{step_of(Kind(event.kind))} {size}"

    def _arguments(self, event: Event) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "comm": comm_of(event),
            "latency_ns": event.duration_ns,
            "ptes": event.ptes,
        }
        if self._frames_of:
            shown["stack"] = list(self._frames_of(event))
        if event.kind == Kind.BATCH_EXIT:
            return shown
        return shown | {
            "result": result(event),
            "node": event.node,
            "start": hex(event.start),
            "frames_freed": event.frames_freed,
            "frames_allocated": event.frames_allocated,
        }

    def _entry(self, phase: str, process: int, thread: int = 0, **fields: Any) -> str:
        for name in ("ts", "dur"):
            if name in fields:
                fields[name] /= 1000
        entry = {"ph": phase, "pid": process, "tid": thread, **fields}
        separator, self._separator = self._separator, ","
        return separator + json.dumps(entry)


def _counters(seen: Observation, page_size: int) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Yield the values of an observation that are known, by counter."""
    if isinstance(seen.pools, Pools):
        pools: dict[str, dict[str, int]] = {}
        for pool in seen.pools.by_node:
            counter = f"{size_label(pool.size)} pages, node {pool.node}"
            pools.setdefault(counter, {})[pool.state] = pool.pages
        yield from pools.items()
    if isinstance(seen.memmap, Memmap):
        for kind, pages in seen.memmap.pages.items():
            yield f"memmap {kind}", {"bytes": pages * page_size}
        if isinstance(seen.memmap.saved_bytes, int):
            yield "memmap saved", {"bytes": seen.memmap.saved_bytes}
