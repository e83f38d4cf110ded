# SPDX-License-Identifier: Apache-2.0
"""An observation as a recording keeps it: plain JSON and back.

A part of an observation that is new gets its key here, or a replay lacks it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from probes.counters import Counters, Histogram, PageKey, Slot
from probes.observation import (
    DRIFT,
    MEMMAP,
    PARTS,
    POOLS,
    PROBES,
    SWITCH,
    Absent,
    Failed,
    Memmap,
    Observation,
    Pool,
    Pools,
    Probes,
    ProbeStatus,
    Status,
    known,
)

_SAVED = "saved"
_ABSENT, _FAILED = "absent", "failed"
_UNTOLD = Absent("the recording does not say")
"""Earlier recordings have neither reasons nor drift."""

Json = Mapping[str, Any]
Unknown = Absent | Failed


def to_json(seen: Observation) -> dict[str, Any]:
    """Make it what ``json.dumps`` takes. How long the reading took is left out."""
    counters, status = seen.counters, seen.status
    pools = known(seen.pools) or Pools()
    memmap = known(seen.memmap) or Memmap({}, _UNTOLD)
    return {
        "time_ns": seen.time_ns,
        "epoch": counters.epoch,
        "totals": [[*slot, *key, n] for (slot, key), n in counters.totals.items()],
        "durations": [[*key, h.counts, h.sum_ns] for key, h in counters.durations.items()],
        "status": asdict(status),
        "pools": pools.by_node,
        "reserved": list(pools.reserved.items()),
        "overcommit": list(pools.overcommit.items()),
        "enabled": known(seen.switch),
        "memmap_pages": dict(memmap.pages),
        "saved_bytes": known(memmap.saved_bytes),
        "drift": known(seen.drift),
        "unknown": dict(_reasons(seen, memmap)),
    }


def from_json(data: Json) -> Observation:
    """Read it back. Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is not one."""
    unknown = {part: _unknown(*why) for part, why in data.get("unknown", {}).items()}

    def or_unknown(part: str, value: Any) -> Any:
        return unknown.get(part, _UNTOLD) if value is None else value

    return Observation(
        time_ns=data["time_ns"],
        probes=unknown.get(PROBES) or Probes(_counters(data), _status(data["status"])),
        pools=unknown.get(POOLS) or _pools(data),
        switch=or_unknown(SWITCH, data["enabled"]),
        memmap=unknown.get(MEMMAP)
        or Memmap(data["memmap_pages"], or_unknown(_SAVED, data["saved_bytes"])),
        drift=or_unknown(DRIFT, data.get("drift")),
    )


def probe_from_json(data: Json) -> ProbeStatus:
    """Read one probe's status. Raises ``KeyError`` and ``TypeError``."""
    return ProbeStatus(**{f.name: data[f.name] for f in fields(ProbeStatus)})


def _reasons(seen: Observation, memmap: Memmap) -> Iterator[tuple[str, tuple[str, str]]]:
    """Of each part that is not known: which kind, and why."""
    parts = {part: getattr(seen, part) for part in PARTS} | {_SAVED: memmap.saved_bytes}
    for part, value in parts.items():
        if isinstance(value, Absent):
            yield part, (_ABSENT, value.reason)
        elif isinstance(value, Failed):
            yield part, (_FAILED, value.error)


def _unknown(kind: str, why: str) -> Unknown:
    return Failed(why) if kind == _FAILED else Absent(why)


def _counters(data: Json) -> Counters:
    return Counters(
        {
            (Slot(family, detail), PageKey(order, node)): n
            for family, detail, order, node, n in data["totals"]
        },
        {
            (direction, order): Histogram(tuple(counts), sum_ns)
            for direction, order, counts, sum_ns in data["durations"]
        },
        data["epoch"],
    )


def _status(data: Json) -> Status:
    values = {f.name: data[f.name] for f in fields(Status)}
    return Status(**{**values, "probes": tuple(map(probe_from_json, values["probes"]))})


def _pools(data: Json) -> Pools:
    return Pools(
        tuple(Pool(*pool) for pool in data["pools"]),
        dict(data["reserved"]),
        dict(data["overcommit"]),
    )
