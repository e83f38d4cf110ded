# SPDX-License-Identifier: Apache-2.0
"""Which part of the metrics a scrape asks for: ``collect[]``, ``exclude[]`` and ``name[]``.

The first two are node_exporter's, the last is prometheus_client's. Other parameters are ignored.
"""

from collections.abc import Collection, Iterator
from copy import copy
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl

from prometheus_client import Metric
from prometheus_client.registry import Collector

_MOST = 1000
"""Parameters of one request."""


class QueryError(ValueError):
    """The request can't be answered as it stands; the message is one line."""


class Parts(Protocol):
    """A source of metrics that can collect a part of them."""

    @property
    def collectors(self) -> Collection[str]:
        """Names of the parts."""

    def part(self, collectors: Collection[str]) -> Collector:
        """What only these collect, beside the process's own metrics."""


class Named(Collector):
    """Another collector's families and samples of some names."""

    def __init__(self, source: Collector, names: Collection[str]) -> None:
        """``names``: of families (all their samples) or of samples."""
        self._source = source
        self._names = names

    def collect(self) -> Iterator[Metric]:
        """Leave out what is not named."""
        for family in self._source.collect():
            kept = copy(family)
            if family.name not in self._names:
                kept.samples = [each for each in family.samples if each.name in self._names]
            if kept.samples:
                yield kept


class Wanted(NamedTuple):
    """What one query asks for; an empty collection asks for no part in particular."""

    collect: tuple[str, ...]
    exclude: tuple[str, ...]
    names: tuple[str, ...]


def read_query(query: str) -> Wanted:
    """Read the part of a request's target behind the ``?``. Raises ``QueryError``."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST)
    except ValueError:
        raise QueryError(f"more than {_MOST} query parameters") from None
    return Wanted(
        *(tuple(v for k, v in pairs if k == f"{key}[]") for key in ("collect", "exclude", "name"))
    )


def selected(whole: Collector, parts: Parts | None, wanted: Wanted) -> Collector:
    """The collector of what is wanted. Raises ``QueryError``."""
    known = parts.collectors if parts else ()
    for name in (*wanted.collect, *wanted.exclude):
        if name not in known:
            raise QueryError(f"unknown collector {name[:40]!a} (known: {', '.join(known) or '-'})")
    if wanted.collect and wanted.exclude:
        raise QueryError("collect[] and exclude[] can't be combined")
    if parts and (wanted.collect or wanted.exclude):
        asked = wanted.collect or [name for name in known if name not in wanted.exclude]
        whole = parts.part(asked)
    return Named(whole, frozenset(wanted.names)) if wanted.names else whole
