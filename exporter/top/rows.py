# SPDX-License-Identifier: Apache-2.0
"""Rows of numbers to show: rates, latencies, pools, failures."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from exporter.top.history import History, quantile
from probes.backend import Info
from probes.counters import DURATIONS, SLOTS, Histogram, PageKey, Slot
from probes.observation import Census, Observation, Pools, known

MINUTE = 60.0


def _slots(*families: str) -> tuple[Slot, ...]:
    return tuple(slot for slot in SLOTS if slot.family in families)


FLOWS: Mapping[str, tuple[Slot, ...]] = {
    "optimized": _slots("hugepages_optimized"),
    "restored": _slots("hugepages_restored"),
    "skipped": _slots("hugepages_skipped"),
    "PTEs remapped": _slots("ptes_remapped"),
    "frames freed": _slots("frames_freed"),
    "frames alloc": _slots("frames_allocated"),
}
"""Counters shown per second, by their name on the screen."""

FAILURES: Mapping[str, tuple[Slot, ...]] = {
    "optimize": _slots("optimize_failures"),
    "restore": _slots("restore_failures"),
}
_FAILED = tuple(slot for slots in FAILURES.values() for slot in slots)
_LATENCY_NAMES = {"optimize": "optimize", "restore": "restore", "batch": "batch"}


class Flow(NamedTuple):
    """One counter, with its rates per second."""

    name: str
    now: float | None
    minute: float | None
    """Average over the last minute."""
    total: int | None
    """Total since the source started."""
    trend: list[float | None]


class Latency(NamedTuple):
    """Call latencies; percentiles in ns, infinite above the last bucket."""

    name: str
    size: int
    timed: int
    p50: float | None
    p90: float | None
    p99: float | None


class PoolRow(NamedTuple):
    """One huge page size on one node."""

    size: int
    node: int
    pages: int | None
    free: int | None
    surplus: int | None
    optimized: int | None
    """Optimized now, by the census."""
    rate: float | None
    """Optimized per second."""
    failed: int | None
    saved: int | None
    """Bytes saved now, by the census."""
    possible: int | None
    """Bytes saved if all pages were optimized."""


def flows(history: History) -> list[Flow]:
    """Return the counters shown per second."""
    return [_flow(history, name, slots) for name, slots in FLOWS.items()]


def _flow(history: History, name: str, slots: tuple[Slot, ...]) -> Flow:
    return Flow(
        name,
        history.rate(slots),
        history.average(slots, MINUTE),
        history.last.counters.sum(slots),
        history.trend(slots),
    )


def latencies(history: History, info: Info, seconds: float | None) -> list[Latency]:
    """Return latencies by function and size, of the last ``seconds``; None: since the start."""
    observed = history.last.counters.durations
    orders = sorted({order for _, order in observed})
    return [
        _latency(history, info, (name, order), seconds)
        for name in DURATIONS
        for order in orders
        if (name, order) in observed
    ]


def _latency(history: History, info: Info, key: tuple[str, int], seconds: float | None) -> Latency:
    name, order = key
    histogram = history.durations(name, order, seconds) or Histogram()
    p50, p90, p99 = (quantile(histogram, share) for share in (0.5, 0.9, 0.99))
    timed = sum(histogram.counts)
    return Latency(_LATENCY_NAMES[name], info.page_size << order, timed, p50, p90, p99)


def pool_rows(history: History, info: Info) -> list[PoolRow]:
    """Return one row per size and node that has a pool or a counter."""
    last = history.last
    by_node = (known(last.pools) or Pools()).by_node
    pools = {(pool.size, pool.node, pool.state): pool.pages for pool in by_node}
    keys = {(pool.size, pool.node) for pool in by_node}
    keys |= {(info.page_size << key.order, key.node) for _, key in last.counters.totals}
    return [_pool_row(history, info, pools, size, node) for size, node in sorted(keys)]


def _pool_row(
    history: History,
    info: Info,
    pools: Mapping[tuple[int, int, str], int],
    size: int,
    node: int,
) -> PoolRow:
    key = PageKey((size // info.page_size).bit_length() - 1, node)
    last = history.last
    census = known(last.census) or Census({}, {})
    pages = pools.get((size, node, "total"))
    return PoolRow(
        size,
        node,
        pages,
        pools.get((size, node, "free")),
        pools.get((size, node, "surplus")),
        census.optimized.get(key),
        history.rate(FLOWS["optimized"], key),
        last.counters.sum(_FAILED, key),
        _bytes(census.saved_frames(key) if key in census.optimized else None, info),
        _bytes(None if pages is None else census.possible_frames(key.order, pages), info),
    )


def _bytes(frames: int | None, info: Info) -> int | None:
    return None if frames is None else frames * info.page_size


def saved_now(observation: Observation, info: Info) -> int | None:
    """Return bytes that HVO saves now: by the census, else by the kernel's own accounting."""
    if isinstance(observation.census, Census):
        return _bytes(observation.census.saved_frames(), info)
    memmap = known(observation.memmap)
    return known(memmap.saved_bytes) if memmap else None


def saved_bytes(observation: Observation, info: Info) -> int | None:
    """Return bytes of frames freed less frames allocated, since the source started."""
    freed = observation.counters.sum(FLOWS["frames freed"])
    allocated = observation.counters.sum(FLOWS["frames alloc"])
    return None if freed is None or allocated is None else (freed - allocated) * info.page_size


def failures(observation: Observation) -> dict[str, int] | None:
    """Return failures by operation and errno; None if they are not known."""
    found = {}
    for name, slots in FAILURES.items():
        for slot in slots:
            count = observation.counters.sum([slot])
            if count is None:
                return None
            if count:
                found[f"{name} {slot.detail}"] = count
    return found


SORTS: Mapping[str, Callable[[PoolRow], float | None]] = {
    "size": lambda row: row.size,
    "node": lambda row: row.node,
    "total": lambda row: row.pages,
    "rate": lambda row: row.rate,
    "saved": lambda row: row.saved,
    "failed": lambda row: row.failed,
}
"""Columns to sort pools by, in the order in which the key ``s`` cycles through them."""


def sort_rows(rows: Sequence[PoolRow], by: str, *, reverse: bool) -> list[PoolRow]:
    """Sort pools by one of ``SORTS``; unknown values come last in either direction."""
    column = SORTS[by]
    known = [row for row in rows if column(row) is not None]
    unknown = [row for row in rows if column(row) is None]
    return sorted(known, key=lambda row: column(row) or 0, reverse=reverse) + unknown
