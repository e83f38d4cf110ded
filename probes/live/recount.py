# SPDX-License-Identifier: Apache-2.0
"""A later census, taken by another process, held against what the probes have kept since the first.

The daemon has no privilege to take one. At each SIGHUP it takes a snapshot of its counters. A
census (``hvoscope census --output``) taken between two snapshots that are the same can be compared:
no operation ended meanwhile.
"""

import json
import logging
from collections.abc import Mapping
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple

from probes.baseline import OPTIMIZED, RESTORED, Baseline, dropped_hits, net_optimized
from probes.counters import Counters, PageKey, Slot
from probes.geometry import parse_size
from probes.observation import Absent, Census, Observation

log = logging.getLogger("hvoscope")

_PageCounts = Mapping[tuple[Slot, PageKey], int]


class LaterCensus(NamedTuple):
    """What the other process found."""

    began_ns: int
    """CLOCK_MONOTONIC."""
    ended_ns: int
    taken: float
    """Unix time in seconds."""
    census: Census


class Recount:
    """Takes up a later census if there is one."""

    def __init__(self, path: Path | None) -> None:
        """Read nothing yet; ``path`` is where a later census is left, None for nowhere."""
        self._path = path
        self._since_ns = 0
        self._counts: _PageCounts = {}

    def take_up(self, seen: Observation, baseline: Baseline | Absent) -> Baseline | Absent:
        """Take a snapshot; return the baseline by a census since the last one, else the same."""
        since_ns, before = self._since_ns, self._counts
        self._since_ns, self._counts = seen.time_ns, _page_counts(seen.counters)
        try:
            later = None if self._path is None else read_census(self._path)
        except (OSError, ValueError) as error:
            log.error("census ignored: %s", error)
            return baseline
        if later is None or not since_ns <= later.began_ns <= later.ended_ns <= seen.time_ns:
            return baseline
        if before != self._counts:
            log.warning("census ignored: huge pages were optimized or restored meanwhile")
            return baseline
        return _rebased(seen, baseline, later)


def read_census(path: Path) -> LaterCensus | None:
    """Read what ``hvoscope census --output`` wrote; None if there is no such file.

    Raises ``OSError``, or ``ValueError`` if it is something else.
    """
    try:
        data = json.loads(path.read_bytes())
        optimized, frames_each = {}, {}
        for pool in data["pools"]:
            order = (parse_size(pool["size"]) // PAGESIZE).bit_length() - 1
            optimized[PageKey(order, int(pool["numa_node"]))] = int(pool["optimized"])
            if pool["possible_bytes"] is not None:
                frames_each[order] = int(pool["possible_bytes"]) // int(pool["pages"]) // PAGESIZE
        times = int(data["began_ns"]), int(data["ended_ns"]), float(data["taken"])
        return LaterCensus(*times, Census(optimized, frames_each))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{path} is no census ({type(error).__name__}: {error})") from error


def _rebased(seen: Observation, old: Baseline | Absent, later: LaterCensus) -> Baseline:
    """The baseline that the later census gives, with the frames by which the count had drifted."""
    frames_each = dict(later.census.frames_each)
    if isinstance(old, Baseline):
        frames_each = {**old.frames_each, **frames_each}
    saved = later.census.saved_frames()
    kept = seen.census.saved_frames() if isinstance(seen.census, Census) else None
    drift = None
    if isinstance(old, Baseline) and saved is not None and kept is not None:
        drift = kept - saved + (old.drift or 0)
        log.info("census: the count differs by %d frames", kept - saved)
    keys = {key for _, key in _page_counts(seen.counters)} | later.census.optimized.keys()
    optimized = {
        key: later.census.optimized.get(key, 0) - net_optimized(seen.counters, key) for key in keys
    }
    return Baseline(optimized, frames_each, later.taken, drift, dropped_hits(seen.status))


def _page_counts(counters: Counters) -> _PageCounts:
    """What changes when a page is optimized or restored."""
    return {
        (slot, key): n
        for (slot, key), n in counters.totals.items()
        if slot in (OPTIMIZED, RESTORED)
    }
