# SPDX-License-Identifier: Apache-2.0
"""One scrape: an observation as metric families, and how well it went."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator

from prometheus_client.core import Metric

from exporter.metrics import catalogue, families
from probes.backend import Backend
from probes.observation import Failed, Observation

log = logging.getLogger("hvoscope")


class HvoCollector:
    """A prometheus_client collector. A part that fails costs its own series, and the log says why.

    Scrapes go through it one at a time.
    """

    def __init__(self, backend: Backend, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Observe ``backend``; ``clock`` is in seconds."""
        self._backend = backend
        self._clock = clock
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """One scrape."""
        return self.collect_only(catalogue.COLLECTORS)

    def collect_only(self, names: Collection[str]) -> Iterable[Metric]:
        """One scrape of these parts; the others are not read, and have no series."""
        with self._lock:
            begin = self._clock()
            seen = self._backend.observe(names)
            self._log_failures(seen)
            info = self._backend.info
            found = [*families.of(seen, info), *families.identity(info), *_collectors(seen)]
            seconds = self._clock() - begin
            return [*found, *families.single(catalogue.SCRAPE_DURATION, seconds)]

    def _log_failures(self, seen: Observation) -> None:
        """Log when a part begins to fail, fails for another reason, or works again."""
        for part in seen.seconds:
            value = getattr(seen, part)
            error = value.error if isinstance(value, Failed) else ""
            before = self._failures.get(part, "")
            self._failures[part] = error
            if error and error != before:
                log.error("collector %s failed, its series are absent: %s", part, error)
            elif before and not error:
                log.info("collector %s works again", part)


def _collectors(seen: Observation) -> Iterator[Metric]:
    yield from families.family(
        catalogue.COLLECTOR_DURATION, [((part,), took) for part, took in seen.seconds.items()]
    )
    yield from families.family(
        catalogue.COLLECTOR_SUCCESS,
        [((part,), float(not isinstance(getattr(seen, part), Failed))) for part in seen.seconds],
    )
