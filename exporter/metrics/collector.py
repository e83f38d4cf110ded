# SPDX-License-Identifier: Apache-2.0
"""One scrape: an observation as metric families, and the success of each collector."""

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
    """A prometheus_client collector; a part that fails is logged and its series are absent.

    Scrapes are serialized.
    """

    def __init__(self, backend: Backend, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Observe ``backend``; ``clock`` is in seconds."""
        self._backend = backend
        self._clock = clock
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Collect all parts."""
        return self.collect_only(catalogue.COLLECTORS)

    def collect_only(self, names: Collection[str]) -> Iterable[Metric]:
        """Collect these parts; others are not read and have no series."""
        with self._lock:
            begin = self._clock()
            observation = self._backend.observe(names)
            self._log_failures(observation)
            info = self._backend.info
            found = [
                *families.from_observation(observation, info),
                *families.info_metrics(info),
                *_collectors(observation),
            ]
            seconds = self._clock() - begin
            return [*found, *families.single(catalogue.SCRAPE_DURATION, seconds)]

    def _log_failures(self, observation: Observation) -> None:
        """Log a part that begins to fail, fails for another reason, or works again."""
        for part in observation.seconds:
            value = getattr(observation, part)
            error = value.error if isinstance(value, Failed) else ""
            before = self._failures.get(part, "")
            self._failures[part] = error
            if error and error != before:
                log.error("collector %s failed, its series are absent: %s", part, error)
            elif before and not error:
                log.info("collector %s works again", part)


def _collectors(observation: Observation) -> Iterator[Metric]:
    seconds = observation.seconds
    yield from families.family(
        catalogue.COLLECTOR_DURATION, [((part,), took) for part, took in seconds.items()]
    )
    yield from families.family(
        catalogue.COLLECTOR_SUCCESS,
        [((part,), float(not isinstance(getattr(observation, part), Failed))) for part in seconds],
    )
