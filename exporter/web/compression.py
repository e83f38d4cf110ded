# SPDX-License-Identifier: Apache-2.0
"""gzip for clients that accept it (RFC 9110, section 12.5.3)."""

import gzip

from exporter.web.messages import Response
from exporter.web.weighted import alternatives

LEVEL = 1
"""The fastest: it makes a scrape six times smaller; higher levels cost more than they save."""

SMALLEST = 1024
"""Bytes; what fits in one packet anyway is left as it is."""


def compressed(response: Response, accept_encoding: str) -> Response:
    """The response as gzip where the client accepts that and it is worth it."""
    if len(response.body) < SMALLEST:
        return response
    headers = (("Vary", "Accept-Encoding"), *response.headers)
    if not accepts_gzip(accept_encoding):
        return response._replace(headers=headers)
    body = gzip.compress(response.body, LEVEL, mtime=0)
    return response._replace(body=body, headers=(*headers, ("Content-Encoding", "gzip")))


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip, and does not like an unencoded response better.

    Where it takes neither, it gets an unencoded one (RFC 9110, 12.5.3).
    """
    weights: dict[str, float] = {}
    for coding in alternatives(accept_encoding):
        name = coding.value.removeprefix("x-")  # 8.4.1.3: x-gzip is gzip
        weights[name] = max(coding.weight, weights.get(name, 0.0))
    rest = weights.get("*", 0.0)
    return weights.get("gzip", rest) > 0 and weights.get("gzip", rest) >= weights.get(
        "identity", rest
    )
