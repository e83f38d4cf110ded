# SPDX-License-Identifier: Apache-2.0
"""Query parameters that restrict a scrape: ``collect[]``, ``exclude[]`` and ``name[]``.

The first two are node_exporter's, the last is prometheus_client's. Other parameters are ignored.
"""

from collections.abc import Collection, Iterator
from copy import copy
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl

from prometheus_client import Metric
from prometheus_client.registry import Collector

_MAX_PARAMETERS = 1000
"""Maximum number of parameters in one request."""


class QueryError(ValueError):
    """The query is invalid; the message is one line."""


class Parts(Protocol):
    """A source of metrics whose collectors can be selected."""

    @property
    def collectors(self) -> Collection[str]:
        """Names of the collectors."""

    def part(self, collectors: Collection[str]) -> Collector:
        """Return these collectors, together with the process's own metrics."""


class Named(Collector):
    """Families and samples of another collector, filtered by name."""

    def __init__(self, source: Collector, names: Collection[str]) -> None:
        """``names`` are names of families (with all samples) or of samples."""
        self._source = source
        self._names = names

    def collect(self) -> Iterator[Metric]:
        """Yield the named families and samples."""
        for family in self._source.collect():
            kept = copy(family)
            if family.name not in self._names:
                kept.samples = [each for each in family.samples if each.name in self._names]
            if kept.samples:
                yield kept


class Wanted(NamedTuple):
    """Restrictions of one query; an empty tuple is no restriction."""

    collect: tuple[str, ...]
    exclude: tuple[str, ...]
    names: tuple[str, ...]


def read_query(query: str) -> Wanted:
    """Parse the part of a request target after ``?``. Raises ``QueryError``."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise QueryError(
            f"too many query parameters (expected at most {_MAX_PARAMETERS})"
        ) from None
    return Wanted(
        *(tuple(v for k, v in pairs if k == f"{key}[]") for key in ("collect", "exclude", "name"))
    )


def selected(whole: Collector, parts: Parts | None, wanted: Wanted) -> Collector:
    """Return the collector of the selected metrics. Raises ``QueryError``."""
    known = parts.collectors if parts else ()
    for name in (*wanted.collect, *wanted.exclude):
        if name not in known:
            expected = ", ".join(known) or "none"
            raise QueryError(f"unknown collector {name[:40]!a} (expected {expected})")
    if wanted.collect and wanted.exclude:
        raise QueryError("collect[] and exclude[] can't be combined")
    if parts and (wanted.collect or wanted.exclude):
        asked = wanted.collect or [name for name in known if name not in wanted.exclude]
        whole = parts.part(asked)
    return Named(whole, frozenset(wanted.names)) if wanted.names else whole
