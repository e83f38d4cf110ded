# SPDX-License-Identifier: Apache-2.0
"""Everything that a scrape shows at one moment, as a recording keeps it: plain JSON and back.

Something new that a ``Backend`` or a ``State`` shows gets its place here, or a replay lacks it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from probes.accounting import Pool, State
from probes.backend import Backend, ProbeStatus, Status
from probes.counters import Counters, Histogram, PageKey, Slot

_TRIES = 5


@dataclass(frozen=True)
class Snapshot:
    """One look at a backend and at the kernel's state. What was not to be seen is left out."""

    time_ns: int
    """CLOCK_MONOTONIC of whoever recorded it."""
    counters: Counters = field(default_factory=Counters)
    status: Status = field(default_factory=lambda: Status(ready=False))
    pools: tuple[Pool, ...] = ()
    enabled: bool | None = None
    memmap_pages: Mapping[str, int] = field(default_factory=dict)
    reserved: Mapping[int, int] = field(default_factory=dict)
    overcommit: Mapping[int, int] = field(default_factory=dict)
    saved_bytes: int | None = None


def take_snapshot(backend: Backend, state: State, time_ns: int) -> Snapshot:
    """Look now.

    Counters and memmap pages are of the same moment, so that a drift between them is one that was
    there; while the counters move too fast for that, the memmap pages are left out.
    """
    memmap: Mapping[str, int] = {}
    for _ in range(_TRIES):
        counters = backend.counters()
        seen = state.memmap_pages()
        if backend.counters().totals == counters.totals:
            memmap = seen
            break
    return Snapshot(
        time_ns,
        counters,
        backend.status(),
        tuple(state.pools()),
        state.enabled(),
        memmap,
        state.reserved(),
        state.overcommit(),
        state.saved_bytes(),
    )


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Make it what ``json.dumps`` takes."""
    counters = snapshot.counters
    return {
        "time_ns": snapshot.time_ns,
        "epoch": counters.epoch,
        "totals": [[*slot, *key, n] for (slot, key), n in counters.totals.items()],
        "durations": [[*key, h.counts, h.sum_ns] for key, h in counters.durations.items()],
        "status": asdict(snapshot.status),
        "pools": snapshot.pools,
        "enabled": snapshot.enabled,
        "memmap_pages": dict(snapshot.memmap_pages),
        "reserved": list(snapshot.reserved.items()),
        "overcommit": list(snapshot.overcommit.items()),
        "saved_bytes": snapshot.saved_bytes,
    }


def from_json(data: Mapping[str, Any]) -> Snapshot:
    """Read it back. Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is not one."""
    status = {known.name: data["status"][known.name] for known in fields(Status)}
    status["probes"] = tuple(map(probe_from_json, status["probes"]))
    return Snapshot(
        time_ns=data["time_ns"],
        counters=Counters(
            {
                (Slot(family, detail), PageKey(order, node)): n
                for family, detail, order, node, n in data["totals"]
            },
            {
                (direction, order): Histogram(tuple(counts), sum_ns)
                for direction, order, counts, sum_ns in data["durations"]
            },
            data["epoch"],
        ),
        status=Status(**status),
        pools=tuple(Pool(*pool) for pool in data["pools"]),
        enabled=data["enabled"],
        memmap_pages=data["memmap_pages"],
        reserved=dict(data["reserved"]),
        overcommit=dict(data["overcommit"]),
        saved_bytes=data["saved_bytes"],
    )


def probe_from_json(data: Mapping[str, Any]) -> ProbeStatus:
    """Read one probe's status. Raises ``KeyError`` and ``TypeError``."""
    return ProbeStatus(**{known.name: data[known.name] for known in fields(ProbeStatus)})
