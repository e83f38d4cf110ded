# SPDX-License-Identifier: Apache-2.0
"""Responses to scrapes: the bytes of a metric family are made again only when it has changed.

Huge pages rarely come and go: most families are those of the last scrape, and comparing one is far
cheaper than encoding it.
"""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.registry import Collector

from exporter.web.formats import Format


class Encoder:
    """Encodes registries whose collectors make new families for each scrape.

    Thread-safe. Keeps the last family of each name and format, and its bytes.
    """

    def __init__(self) -> None:
        """Start with nothing encoded."""
        self._last: dict[tuple[str, str], tuple[Metric, bytes]] = {}

    def encode(self, registry: Collector, chosen: Format) -> bytes:
        """Return what ``chosen.encode`` returns for ``registry``."""
        families = (self._family(each, chosen) for each in registry.collect())
        return b"".join((*families, chosen.end))

    def _family(self, family: Metric, chosen: Format) -> bytes:
        key = chosen.media_type, family.name
        before = self._last.get(key)
        if before and before[0] == family:
            return before[1]
        encoded = chosen.encode(_Single(family)).removesuffix(chosen.end)
        self._last[key] = family, encoded
        return encoded


class _Single(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)
