# SPDX-License-Identifier: Apache-2.0
"""Exposition formats and their negotiation (RFC 9110, section 12.5.1).

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
    """Of a whole registry."""
    end: bytes = b""
    """What follows the last family."""

    @property
    def content_type(self) -> str:
        """The value of the header Content-Type."""
        return "; ".join((self.media_type, *(f"{k}={v}" for k, v in self.parameters.items())))


TEXT = Format("text/plain", {"version": "0.0.4", "charset": "utf-8"}, exposition.generate_latest)
OPENMETRICS = Format(
    "application/openmetrics-text",
    {"version": "1.0.0", "charset": "utf-8"},
    openmetrics.generate_latest,
    b"# EOF\n",
)


class _Preference(NamedTuple):
    weight: float
    named: bool
    """The client names the full media type, not a wildcard."""


def choose(accept: str) -> Format:
    """Return the format that the client prefers.

    Text if it has no preference, accepts neither, or sends an invalid header: Prometheus' clients
    expect a response, and the RFC lets a server disregard the header. OpenMetrics if both are named
    with the same weight.
    """
    ranges = list(alternatives(accept))
    text, other = _preference(TEXT, ranges), _preference(OPENMETRICS, ranges)
    preferred = other.weight > text.weight or (other.weight == text.weight and other.named)
    return OPENMETRICS if other.weight and preferred else TEXT


def _preference(offer: Format, ranges: Sequence[Alternative]) -> _Preference:
    """Return the preference of the most specific range that includes the format."""
    found = [
        (_specificity(offer, each), len(each.parameters), each.weight)
        for each in ranges
        if _specificity(offer, each) and _has(offer, each.parameters)
    ]
    specificity, _, weight = max(found, default=(0, 0, 0.0))
    return _Preference(weight, specificity == _FULL)


_FULL = 3


def _specificity(offer: Format, media_range: Alternative) -> int:
    """Return 1 for ``*/*``, 2 for ``type/*``, 3 for the media type itself, 0 for no match."""
    main_type = offer.media_type.partition("/")[0]
    ranges = {"*/*": 1, f"{main_type}/*": 2, offer.media_type: _FULL}
    return ranges.get(media_range.value, 0)


def _has(offer: Format, wanted: Mapping[str, str]) -> bool:
    return all(
        # Escaping concerns names outside [a-zA-Z0-9_:], which do not occur here.
        name == "escaping" or offer.parameters.get(name) == _folded(name, value)
        for name, value in wanted.items()
    )


def _folded(name: str, value: str) -> str:
    """Lower the case of character set names, which are case-insensitive (RFC 9110, 8.3.2)."""
    return value.lower() if name == "charset" else value
