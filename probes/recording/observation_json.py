# SPDX-License-Identifier: Apache-2.0
"""Conversion of an observation to the JSON of a recording, and back.

A new part of ``Observation`` needs a key here; otherwise a replay does not have it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from probes.counters import Counters, Histogram, PageKey, Slot
from probes.observation import (
    CENSUS,
    DRIFT,
    MEMMAP,
    PARTS,
    POOLS,
    PROBES,
    SWITCH,
    Absent,
    Census,
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
_NOT_RECORDED = Absent("not in the recording")
"""For older recordings, which have neither reasons nor drift nor census."""

Json = Mapping[str, Any]
Unknown = Absent | Failed


def to_json(seen: Observation) -> dict[str, Any]:
    """Convert to types that ``json.dumps`` accepts; ``seconds`` is not included."""
    counters, status = seen.counters, seen.status
    pools = known(seen.pools) or Pools()
    memmap = known(seen.memmap) or Memmap({}, _NOT_RECORDED)
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
        "census": _census_json(seen.census),
        "memmap_pages": dict(memmap.pages),
        "saved_bytes": known(memmap.saved_bytes),
        "drift": known(seen.drift),
        "unknown": dict(_reasons(seen, memmap)),
    }


def from_json(data: Json) -> Observation:
    """Convert back. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for invalid data."""
    unknown = {part: _unknown(*why) for part, why in data.get("unknown", {}).items()}

    def or_unknown(part: str, value: Any) -> Any:
        return unknown.get(part, _NOT_RECORDED) if value is None else value

    return Observation(
        time_ns=data["time_ns"],
        probes=unknown.get(PROBES) or Probes(_counters(data), _status(data["status"])),
        pools=unknown.get(POOLS) or _pools(data),
        switch=or_unknown(SWITCH, data["enabled"]),
        census=or_unknown(CENSUS, _census(data.get("census"))),
        memmap=unknown.get(MEMMAP)
        or Memmap(data["memmap_pages"], or_unknown(_SAVED, data["saved_bytes"])),
        drift=or_unknown(DRIFT, data.get("drift")),
    )


def probe_from_json(data: Json) -> ProbeStatus:
    """Convert one probe's status back. Raises ``KeyError`` or ``TypeError``."""
    return ProbeStatus(**{f.name: data[f.name] for f in fields(ProbeStatus)})


def _census_json(census: Census | Unknown) -> dict[str, Any] | None:
    if not isinstance(census, Census):
        return None
    return {
        "optimized": [[*key, pages] for key, pages in census.optimized.items()],
        "frames_each": list(census.frames_each.items()),
        "taken": census.taken,
    }


def _census(data: Json | None) -> Census | None:
    if data is None:
        return None
    optimized = {PageKey(order, node): pages for order, node, pages in data["optimized"]}
    return Census(optimized, dict(data["frames_each"]), data["taken"])


def _reasons(seen: Observation, memmap: Memmap) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each unknown part with its kind (absent or failed) and the reason."""
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
