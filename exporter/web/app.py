# SPDX-License-Identifier: Apache-2.0
"""Routes: paths and their pages.

prometheus_client's own server has metrics on every path, so a health check could never fail.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from exporter.web import formats
from exporter.web.compression import compressed
from exporter.web.encoder import Encoder
from exporter.web.messages import Request, Response
from exporter.web.query import Parts, QueryError, read_query, selected

_ALLOW = (("Allow", "GET, HEAD, OPTIONS"),)
_WHOLE_SERVER = "*"
"""The target of ``OPTIONS *`` (RFC 9110, 9.3.7)."""


class Readiness(NamedTuple):
    """The state for ``/-/ready``: ready, or one line with the reason."""

    ready: bool
    reason: str


Page = Callable[[Request], Response]


class Site(NamedTuple):
    """Pages by path; the one at ``telemetry_path`` is expensive."""

    pages: Mapping[str, Page]
    telemetry_path: str

    def answer(self, request: Request) -> Response:
        """Return the response, 404 and 405 included. Thread-safe."""
        if request.method == "OPTIONS" and request.path in (*self.pages, _WHOLE_SERVER):
            return Response(HTTPStatus.OK, b"", headers=_ALLOW)  # HAProxy's health check
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, b"GET or HEAD\n", headers=_ALLOW)
        page = self.pages.get(request.path)
        if not page:
            return Response(HTTPStatus.NOT_FOUND, b"no such page\n")
        return compressed(page(request), request.headers.get("accept-encoding", ""))


def make_site(
    registry: CollectorRegistry,
    telemetry_path: str,
    readiness: Callable[[], Readiness],
    landing_page: Callable[[], str],
    parts: Parts | None = None,
) -> Site:
    """Build the site: metrics, landing page, ``/-/healthy``, ``/-/ready``.

    Without ``parts``, collect[] and exclude[] are not supported.
    """
    encoder = Encoder()

    def metrics(request: Request) -> Response:
        try:
            wanted = selected(registry, parts, read_query(request.query))
        except QueryError as error:
            return Response(HTTPStatus.BAD_REQUEST, f"{error}\n".encode())
        chosen = formats.choose(request.headers.get("accept", ""))
        vary = (("Vary", "Accept"),)
        return Response(HTTPStatus.OK, encoder.encode(wanted, chosen), chosen.content_type, vary)

    def ready(_: Request) -> Response:
        state = readiness()
        if state.ready:
            return Response(HTTPStatus.OK, b"ready\n")
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {state.reason}\n".encode())

    def landing(_: Request) -> Response:
        return Response(HTTPStatus.OK, landing_page().encode(), "text/html; charset=utf-8")

    def healthy(_: Request) -> Response:
        return Response(HTTPStatus.OK, b"healthy\n")

    pages = {"/": landing, telemetry_path: metrics, "/-/healthy": healthy, "/-/ready": ready}
    return Site(pages, telemetry_path)
