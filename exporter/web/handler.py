# SPDX-License-Identifier: Apache-2.0
"""Request handling: rate limit, authentication, concurrency limits, failures of pages."""

import asyncio
import logging
from http import HTTPStatus

from exporter.web.app import Site
from exporter.web.limits import Limits
from exporter.web.log_once import LogOnce
from exporter.web.messages import Request, Response
from exporter.web.reload import ActiveConfig
from exporter.web.workers import BusyError, Workers

log = logging.getLogger("hvoscope")

_MAX_PAGES = 64
"""Maximum number of concurrent requests for pages other than the metrics, which are cheap."""

_RETRY = (("Retry-After", "1"),)
_FAILED = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error; see the log\n")
_CHALLENGE = (("WWW-Authenticate", 'Basic realm="hvoscope", charset="UTF-8"'),)


class RequestHandler:
    """Turns requests into responses of the site. Use it from one event loop."""

    def __init__(self, site: Site, limits: Limits) -> None:
        """Scrapes have separate workers, so that they never block ``/-/healthy``."""
        self._site = site
        self._limits = limits
        self._scrapes = Workers(limits.threads, limits.scrapes)
        self._pages = Workers(limits.threads, _MAX_PAGES)
        self._log = LogOnce(log)

    async def respond(self, request: Request, active: ActiveConfig) -> Response:
        """Return a response in any case: an error is a 500."""
        try:
            response = await self._refusal(request, active) or await self._page(request)
        except Exception as error:  # a bug fails one response, not the connection
            self._log.error("%s failed: %s: %s", request.path, type(error).__name__, error)
            response = _FAILED
        return response._replace(headers=(*response.headers, *active.config.headers))

    async def _refusal(self, request: Request, active: ActiveConfig) -> Response | None:
        if active.bucket and not active.bucket.take():
            return Response(HTTPStatus.TOO_MANY_REQUESTS, b"too many requests\n", headers=_RETRY)
        try:
            allowed = await active.users.allow(request.headers.get("authorization", ""))
        except BusyError:
            return _busy("too many passwords are being verified")
        if not allowed:
            return Response(HTTPStatus.UNAUTHORIZED, b"unauthorized\n", headers=_CHALLENGE)
        return None

    async def _page(self, request: Request) -> Response:
        scrape = request.path == self._site.telemetry_path
        workers = self._scrapes if scrape else self._pages
        try:
            async with asyncio.timeout(self._limits.page_seconds):
                return await workers.run(lambda: self._site.answer(request))
        except BusyError:
            return _busy(f"limit of concurrent requests reached ({self._limits.scrapes})")
        except TimeoutError:
            self._log.error("%s took more than %g s", request.path, self._limits.page_seconds)
            return _busy(f"timeout after {self._limits.page_seconds:g} s")


def _busy(reason: str) -> Response:
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n".encode(), headers=_RETRY)
