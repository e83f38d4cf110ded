# SPDX-License-Identifier: Apache-2.0
"""Resources of a process, and checks of its counters."""

import http.client
import re
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.process import taken

_SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def rss_kib(pid: int) -> int:
    """Return resident memory in KiB: the median of a few samples, since a simulation fluctuates."""
    samples = []
    for _ in range(5):
        samples.append(taken(pid).rss_kib)
        time.sleep(0.05)  # so that the samples differ
    return int(statistics.median(samples))


class Spread(NamedTuple):
    """Median and 99th percentile of scrape durations, in seconds."""

    p50: float
    p99: float


def _spread(seconds: Sequence[float]) -> Spread:
    quantiles = statistics.quantiles(seconds, n=100)
    return Spread(quantiles[49], quantiles[98])


class Scraper:
    """Scrapes on one connection, measures each scrape, and checks that no counter decreases."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=60)
        self.seconds: list[float] = []
        self.counters: dict[str, float] = {}

    def scrape(self) -> None:
        began = time.perf_counter()
        self._connection.request("GET", "/metrics")
        answer = self._connection.getresponse()
        text = answer.read().decode()
        self.seconds.append(time.perf_counter() - began)
        assert answer.status == 200
        now = {
            name: float(value)
            for name, value in _SAMPLE.findall(text)
            if re.match(r"hvo_\w+(_total|_bucket|_count|_sum)\b", name)
        }
        assert now.keys() >= self.counters.keys()
        fallen = [name for name, value in self.counters.items() if now[name] < value]
        assert not fallen
        self.counters = now

    def events(self) -> int:
        """Return the number of events that the counters imply."""
        return int(
            2 * self._sum("hvo_optimize_calls_total")  # enter and exit
            + self._sum("hvo_hugepages_optimized_total")  # the range
            + self._sum("hvo_ptes_remapped_total")
            + 2 * self._sum("hvo_hugepages_restored_total")
            + self._sum("hvo_ptes_restored_total")
        )

    def _sum(self, name: str) -> float:
        return sum(value for key, value in self.counters.items() if key.startswith(name))

    def spread(self, windows: int) -> Spread:
        """Return the smallest p99/p50 of equal stretches of scrapes.

        What else the machine does may spoil some of them. A pause of the daemon's own that meets
        one scrape in a hundred is in all of them.
        """
        size = len(self.seconds) // windows
        parts = (self.seconds[n * size : (n + 1) * size] for n in range(windows))
        return min((_spread(part) for part in parts), key=lambda spread: spread.p99 / spread.p50)

    def close(self) -> None:
        self._connection.close()
