# SPDX-License-Identifier: Apache-2.0
"""gzip for whoever accepts it (RFC 9110, section 12.5.3)."""

import gzip

from exporter.web.messages import Response

LEVEL = 1
"""The fastest: it makes a scrape six times smaller; higher levels cost more than they save."""

SMALLEST = 1024
"""Bytes; what fits in one packet anyway is left as it is."""


def compressed(response: Response, accept_encoding: str) -> Response:
    """The response as gzip where the client accepts that and it is worth it."""
    if len(response.body) < SMALLEST:
        return response
    headers = (*response.headers, ("Vary", "Accept-Encoding"))
    if not accepts_gzip(accept_encoding):
        return response._replace(headers=headers)
    body = gzip.compress(response.body, LEVEL, mtime=0)
    return response._replace(body=body, headers=(*headers, ("Content-Encoding", "gzip")))


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip, or else ``*``, with a weight above 0."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameter = part.partition(";")
        weights[coding.strip()] = _weight(parameter)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
