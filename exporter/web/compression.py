# SPDX-License-Identifier: Apache-2.0
"""gzip for clients that accept it (RFC 9110, section 12.5.3)."""

import gzip

from exporter.web.messages import Response
from exporter.web.weighted import alternatives

LEVEL = 1
"""The fastest level shrinks a scrape to a sixth; higher levels cost more than they save."""

MIN_BYTES = 1024
"""Responses below this size fit into one packet and are not compressed."""


def compressed(response: Response, accept_encoding: str) -> Response:
    """Compress the response with gzip if the client accepts that and it is large enough."""
    if len(response.body) < MIN_BYTES:
        return response
    headers = (("Vary", "Accept-Encoding"), *response.headers)
    if not accepts_gzip(accept_encoding):
        return response._replace(headers=headers)
    body = gzip.compress(response.body, LEVEL, mtime=0)
    return response._replace(body=body, headers=(*headers, ("Content-Encoding", "gzip")))


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether the client accepts gzip and does not prefer an unencoded response.

    A client that accepts neither gets an unencoded one (RFC 9110, 12.5.3).
    """
    weights: dict[str, float] = {}
    for coding in alternatives(accept_encoding):
        name = coding.value.removeprefix("x-")  # 8.4.1.3: x-gzip is gzip
        weights[name] = max(coding.weight, weights.get(name, 0.0))
    rest = weights.get("*", 0.0)
    return weights.get("gzip", rest) > 0 and weights.get("gzip", rest) >= weights.get(
        "identity", rest
    )
