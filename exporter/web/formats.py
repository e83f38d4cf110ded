# SPDX-License-Identifier: Apache-2.0
"""Exposition formats, and which of them a client gets (RFC 9110, section 12.5.1).

prometheus_client's own ``choose_encoder`` fails on a quoted version and ignores weights.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.web.weighted import Alternative, alternatives


class Format(NamedTuple):
    """An exposition format."""

    media_type: str
    parameters: Mapping[str, str]
    encode: Callable[[Collector], bytes]

    @property
    def content_type(self) -> str:
        """As the header says it."""
        return "; ".join((self.media_type, *(f"{k}={v}" for k, v in self.parameters.items())))


TEXT = Format("text/plain", {"version": "0.0.4", "charset": "utf-8"}, exposition.generate_latest)
OPENMETRICS = Format(
    "application/openmetrics-text",
    {"version": "1.0.0", "charset": "utf-8"},
    openmetrics.generate_latest,
)


class _Preference(NamedTuple):
    weight: float
    named: bool
    """By its full media type, not by a wildcard."""


def choose(accept: str) -> Format:
    """The format that the client prefers.

    Text where it prefers none, where it accepts neither, and where the header can't be read:
    Prometheus' clients expect an answer, and the RFC lets a server disregard the header.
    OpenMetrics where both are named with the same weight.
    """
    ranges = list(alternatives(accept))
    text, other = _preference(TEXT, ranges), _preference(OPENMETRICS, ranges)
    preferred = other.weight > text.weight or (other.weight == text.weight and other.named)
    return OPENMETRICS if other.weight and preferred else TEXT


def _preference(offer: Format, ranges: Sequence[Alternative]) -> _Preference:
    """That of the most specific range which the format is in."""
    found = [
        (_specificity(offer, each), len(each.parameters), each.weight)
        for each in ranges
        if _specificity(offer, each) and _has(offer, each.parameters)
    ]
    specificity, _, weight = max(found, default=(0, 0, 0.0))
    return _Preference(weight, specificity == _FULL)


_FULL = 3


def _specificity(offer: Format, media_range: Alternative) -> int:
    """1 for ``*/*``, 2 for ``type/*``, 3 for the media type itself; 0 where it is not in it."""
    main_type = offer.media_type.partition("/")[0]
    ranges = {"*/*": 1, f"{main_type}/*": 2, offer.media_type: _FULL}
    return ranges.get(media_range.value, 0)


def _has(offer: Format, wanted: Mapping[str, str]) -> bool:
    return all(
        # How names beyond [a-zA-Z0-9_:] are to be written: there are none.
        name == "escaping" or offer.parameters.get(name) == _folded(name, value)
        for name, value in wanted.items()
    )


def _folded(name: str, value: str) -> str:
    """Names of character sets have no case (RFC 9110, 8.3.2)."""
    return value.lower() if name == "charset" else value
