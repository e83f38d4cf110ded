# SPDX-License-Identifier: Apache-2.0
"""A request and a response, as the site sees them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

_TEXT = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """What a client asks."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """By name in lower case; several of one name joined with commas."""
    query: str = ""
    """What follows the ``?``, still percent-encoded."""


class Response(NamedTuple):
    """What it gets. Content-Length is added when it is sent, and a HEAD's body left out."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()
