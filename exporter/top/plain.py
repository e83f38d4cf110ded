# SPDX-License-Identifier: Apache-2.0
"""One line per sample, for output that is not a terminal: a file, a pipe, a log."""

from collections.abc import Callable

from exporter import units
from exporter.top import rows
from exporter.top.history import History
from probes.backend import Info
from probes.geometry import size_label

_ROW = "{:>8} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7} {:>7}  {}"
HEADER = _ROW.format(
    *("TIME", "SECONDS", "SAVED", "OPT/s", "RESTOR/s", "SKIP/s", "PTES/s", "FREED/s", "ALLOC/s"),
    *("FAILED", "OPT_P50", "OPT_P99", "POOLS"),
)


def line(history: History, info: Info) -> str:
    """Format rates between the last two samples, and latencies and failures since the start."""
    flows = {flow.name: flow for flow in rows.flows(history)}
    failures = rows.failures(history.last)
    return _ROW.format(
        _time_of_day(history.last.time_ns, info),
        f"{history.seconds:.1f}",
        units.memory(rows.saved_bytes(history.last, info)).replace(" ", ""),
        *(units.rate(flows[name].now) for name in rows.FLOWS),
        units.count(None if failures is None else sum(failures.values()), 6),
        *_optimize_latency(history, info),
        _pools(history, info),
    ).rstrip()


def _time_of_day(time_ns: int, info: Info) -> str:
    if info.start is None:
        return units.UNKNOWN
    wall_ns = time_ns - info.start.monotonic_ns + info.start.wall_ns
    return f"{units.local_time(wall_ns):%H:%M:%S}"


def _optimize_latency(history: History, info: Info) -> tuple[str, str]:
    """Format median and 99th percentile of the smallest size with any samples."""
    for latency in rows.latencies(history, info, None):
        if latency.name == "optimize" and latency.timed:
            return units.duration(latency.p50), units.duration(latency.p99)
    return units.UNKNOWN, units.UNKNOWN


def _pools(history: History, info: Info) -> str:
    """Format total and free pages of each pool, by size and node: ``2MB:0=23/5``."""
    number: Callable[[int | None], str] = units.count
    return " ".join(
        f"{size_label(row.size)}:{row.node}={number(row.pages)}/{number(row.free)}"
        for row in rows.pool_rows(history, info)
        if row.pages or row.pages is None
    )
