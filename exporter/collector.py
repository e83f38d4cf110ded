# SPDX-License-Identifier: Apache-2.0
"""One scrape: run every collector by itself, time it, and keep to the limit of series."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import Metric

from exporter import catalogue, families
from probes.accounting import Drift, State
from probes.backend import Backend

log = logging.getLogger("hvoscope")

DEFAULT_MAX_SERIES = 10_000
"""Ten times what a machine of eight nodes with four huge page sizes has."""


class _Ran(NamedTuple):
    """What one part gave in one scrape; ``problem`` is empty when all went well."""

    found: list[Metric]
    seconds: float
    problem: str


class HvoCollector:
    """A prometheus_client collector. A part that fails costs its own series, and says so.

    Scrapes go through it one at a time.
    """

    def __init__(
        self,
        backend: Backend,
        state: State,
        drift: Drift,
        *,
        max_series: int = DEFAULT_MAX_SERIES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Collect from ``backend`` and ``state``; ``clock`` is in seconds."""
        self._backend = backend
        self._max_series = max_series
        self._clock = clock
        self._dropped = 0
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()
        self._parts = families.parts(backend, state, drift)

    @property
    def names(self) -> Collection[str]:
        """Of the parts, ``catalogue.COLLECTORS``."""
        return self._parts.keys()

    def collect(self) -> Iterable[Metric]:
        """One scrape."""
        return self.collect_only(self.names)

    def collect_only(self, names: Collection[str]) -> Iterable[Metric]:
        """One scrape of these parts; the others are not run, and have no series."""
        with self._lock:
            begin = self._clock()
            ran = {n: self._run(n, part) for n, part in self._parts.items() if n in names}
            own = [*families.identity(self._backend.info), *_collectors(ran)]
            series = _count(own) + _SUMMARY_SERIES
            kept, series = self._within_limit((f for r in ran.values() for f in r.found), series)
            return [*kept, *own, *self._summary(series, self._clock() - begin)]

    def _run(self, name: str, part: families.Part) -> _Ran:
        begin = self._clock()
        try:
            found, problem = list(part()), ""
        except Exception as error:  # whatever it is, it must not cost the other parts' series
            found, problem = [], f"{type(error).__name__}: {error}"
        self._tell(name, problem)
        return _Ran(found, self._clock() - begin, problem)

    def _tell(self, name: str, problem: str) -> None:
        """Log a collector's failure when it begins or changes, and its end."""
        before = self._problems.get(name, "")
        self._problems[name] = problem
        if problem and problem != before:
            log.error("collector %s failed, its series are absent: %s", name, problem)
        elif before and not problem:
            log.info("collector %s works again", name)

    def _within_limit(self, found: Iterable[Metric], series: int) -> tuple[list[Metric], int]:
        """Leave out families that do not fit any more; never a part of one: its sum would lie."""
        kept = []
        for family in found:
            if series + len(family.samples) > self._max_series:
                self._dropped += len(family.samples)
            else:
                kept.append(family)
                series += len(family.samples)
        return kept, series

    def _summary(self, series: int, seconds: float) -> Iterator[Metric]:
        yield from families.single(catalogue.SCRAPE_DURATION, seconds)
        yield from families.single(catalogue.SERIES, series)
        yield from families.single(catalogue.SERIES_LIMIT, self._max_series)
        yield from families.single(catalogue.SERIES_DROPPED, self._dropped)


_SUMMARY_SERIES = 4
"""Samples that ``_summary`` makes."""


def _collectors(ran: Mapping[str, _Ran]) -> Iterator[Metric]:
    yield from families.family(
        catalogue.COLLECTOR_DURATION, [((name,), each.seconds) for name, each in ran.items()]
    )
    yield from families.family(
        catalogue.COLLECTOR_SUCCESS,
        [((name,), float(not each.problem)) for name, each in ran.items()],
    )


def _count(found: Iterable[Metric]) -> int:
    return sum(len(family.samples) for family in found)
