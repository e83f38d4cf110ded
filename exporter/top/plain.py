# SPDX-License-Identifier: Apache-2.0
"""A line for each look, for where there is no terminal: a file, a pipe, a log."""

from collections.abc import Callable

from exporter import units
from exporter.top import rows
from exporter.top.history import History
from probes.backend import Info
from probes.geometry import size_label

_ROW = "{:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7} {:>7}  {}"
HEADER = _ROW.format(
    *("SECONDS", "SAVED", "OPT/s", "RESTOR/s", "SKIP/s", "PTES/s", "FREED/s", "TAKEN/s"),
    *("FAILED", "OPT_P50", "OPT_P99", "POOLS"),
)


def line(history: History, info: Info) -> str:
    """What happened between the last two looks, latencies and failures since the start."""
    flows = {flow.name: flow for flow in rows.flows(history)}
    failures = rows.failures(history.last)
    return _ROW.format(
        f"{history.seconds:.1f}",
        units.memory(rows.saved_bytes(history.last, info)).replace(" ", ""),
        *(units.rate(flows[name].now) for name in rows.FLOWS),
        units.count(None if failures is None else sum(failures.values()), 6),
        *_optimise(history, info),
        _pools(history, info),
    ).rstrip()


def _optimise(history: History, info: Info) -> tuple[str, str]:
    """Median and 99th percentile of the smallest size that was timed at all."""
    for latency in rows.latencies(history, info, None):
        if latency.name == "optimise" and latency.timed:
            return units.duration(latency.p50), units.duration(latency.p99)
    return units.UNKNOWN, units.UNKNOWN


def _pools(history: History, info: Info) -> str:
    """Pages of each pool and how many of them are free: ``2MB:0=23/5``."""
    number: Callable[[int | None], str] = units.count
    return " ".join(
        f"{size_label(row.size)}:{row.node}={number(row.pages)}/{number(row.free)}"
        for row in rows.pool_rows(history, info)
        if row.pages or row.pages is None
    )
