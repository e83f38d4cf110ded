# SPDX-License-Identifier: Apache-2.0
"""Who may have a page, how many at once, and what happens when a page can't be made."""

import asyncio
import logging
from http import HTTPStatus

from exporter.web.app import Site
from exporter.web.limits import Limits
from exporter.web.messages import Request, Response
from exporter.web.once import Once
from exporter.web.reload import Rules
from exporter.web.workers import BusyError, Workers

log = logging.getLogger("hvoscope")

_PAGES = 64
"""Pages other than the metrics, at once: they cost next to nothing."""

_RETRY = (("Retry-After", "1"),)
_FAILED = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b"failed; the log has the reason\n")
_CHALLENGE = (("WWW-Authenticate", 'Basic realm="hvoscope", charset="UTF-8"'),)


class Gate:
    """Between the conversation and the site. Use it from one event loop."""

    def __init__(self, site: Site, limits: Limits) -> None:
        """Scrapes have workers of their own, so that they keep no one from ``/-/healthy``."""
        self._site = site
        self._limits = limits
        self._scrapes = Workers(limits.threads, limits.scrapes)
        self._pages = Workers(limits.threads, _PAGES)
        self._once = Once(log)

    async def respond(self, request: Request, rules: Rules) -> Response:
        """Answer, whatever happens."""
        try:
            response = await self._refusal(request, rules) or await self._page(request)
        except Exception as error:  # a bug must cost one response, and not the connection
            self._once.error("%s failed: %s: %s", request.path, type(error).__name__, error)
            response = _FAILED
        return response._replace(headers=(*response.headers, *rules.config.headers))

    async def _refusal(self, request: Request, rules: Rules) -> Response | None:
        if rules.bucket and not rules.bucket.take():
            return Response(HTTPStatus.TOO_MANY_REQUESTS, b"too many requests\n", headers=_RETRY)
        try:
            allowed = await rules.users.allow(request.headers.get("authorization", ""))
        except BusyError:
            return _busy("too many passwords are being tried")
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
            self._once.error("%s took more than %g s", request.path, self._limits.page_seconds)
            return _busy("it took too long")


def _busy(reason: str) -> Response:
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n".encode(), headers=_RETRY)
