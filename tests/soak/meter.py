# SPDX-License-Identifier: Apache-2.0
"""Resources of a process, and checks of its counters."""

import http.client
import re
import statistics
import time

from tests.process import taken

_SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def rss_kib(pid: int) -> int:
    """Return resident memory in KiB: the median of a few samples, since a simulation fluctuates."""
    samples = []
    for _ in range(5):
        samples.append(taken(pid).rss_kib)
        time.sleep(0.05)  # so that the samples differ
    return int(statistics.median(samples))


class Scraper:
    """Scrapes on one connection, counts scrapes, and checks that no counter decreases."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=60)
        self.scrapes = 0
        self.counters: dict[str, float] = {}

    def scrape(self) -> None:
        self._connection.request("GET", "/metrics")
        answer = self._connection.getresponse()
        text = answer.read().decode()
        self.scrapes += 1
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

    def close(self) -> None:
        self._connection.close()
