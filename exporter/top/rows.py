# SPDX-License-Identifier: Apache-2.0
"""What the screen shows, as rows of numbers: flows, latencies, pools, failures."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from exporter.top.history import History, quantile
from probes.backend import Info
from probes.counters import DURATIONS, SLOTS, Histogram, PageKey, Slot
from probes.observation import Observation, Pools, known

MINUTE = 60.0


def _slots(*families: str) -> tuple[Slot, ...]:
    return tuple(slot for slot in SLOTS if slot.family in families)


FLOWS: Mapping[str, tuple[Slot, ...]] = {
    "optimised": _slots("hugepages_optimized"),
    "restored": _slots("hugepages_restored"),
    "skipped": _slots("hugepages_skipped"),
    "PTEs remapped": _slots("ptes_remapped"),
    "frames freed": _slots("frames_freed"),
    "frames taken": _slots("frames_allocated"),
}
"""What is shown per second, by its name on the screen."""

FAILURES: Mapping[str, tuple[Slot, ...]] = {
    "optimise": _slots("optimize_failures"),
    "restore": _slots("restore_failures"),
}
_FAILED = tuple(slot for slots in FAILURES.values() for slot in slots)
_LATENCY_NAMES = {"optimize": "optimise", "restore": "restore", "batch": "batch"}


class Flow(NamedTuple):
    """Something that happens so often a second."""

    name: str
    now: float | None
    minute: float | None
    """On average over the last minute."""
    total: int | None
    """Since the source began."""
    trend: list[float | None]


class Latency(NamedTuple):
    """How long calls took; percentiles in ns, infinite beyond the last bucket."""

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
    optimised: int | None
    rate: float | None
    """Optimised per second."""
    skipped: int | None
    failed: int | None
    saved: int | None
    """Bytes since the source began; below 0 where pages from before it were restored."""


def flows(history: History) -> list[Flow]:
    """Everything that is shown per second."""
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
    """By what was timed and size; over the last ``seconds``, or all time with None."""
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
    """By size and node: all that has a pool or a count."""
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
    return PoolRow(
        size,
        node,
        pools.get((size, node, "total")),
        pools.get((size, node, "free")),
        pools.get((size, node, "surplus")),
        last.counters.sum(FLOWS["optimised"], key),
        history.rate(FLOWS["optimised"], key),
        last.counters.sum(FLOWS["skipped"], key),
        last.counters.sum(_FAILED, key),
        saved_bytes(last, info, key),
    )


def saved_bytes(seen: Observation, info: Info, key: PageKey | None = None) -> int | None:
    """Bytes of frames freed less frames taken, since the source began."""
    freed = seen.counters.sum(FLOWS["frames freed"], key)
    taken = seen.counters.sum(FLOWS["frames taken"], key)
    return None if freed is None or taken is None else (freed - taken) * info.page_size


def failures(seen: Observation) -> dict[str, int] | None:
    """Failures that there were, by what failed and why; None where they can't be told."""
    found = {}
    for name, slots in FAILURES.items():
        for slot in slots:
            count = seen.counters.sum([slot])
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
"""Columns to sort pools by, in the order in which the key goes through them."""


def sort_rows(rows: Sequence[PoolRow], by: str, *, reverse: bool) -> list[PoolRow]:
    """Sort pools by one of ``SORTS``; what is not known comes last either way."""
    column = SORTS[by]
    known = [row for row in rows if column(row) is not None]
    unknown = [row for row in rows if column(row) is None]
    return sorted(known, key=lambda row: column(row) or 0, reverse=reverse) + unknown
