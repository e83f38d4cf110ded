# SPDX-License-Identifier: Apache-2.0
"""HTTP requests and responses."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

_TEXT = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """An HTTP request."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """Values by lower-case name; repeated headers are joined with commas."""
    query: str = ""
    """The part after ``?``, still percent-encoded."""


class Response(NamedTuple):
    """An HTTP response; sending it adds Content-Length and omits the body of a HEAD."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()
