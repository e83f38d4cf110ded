# SPDX-License-Identifier: Apache-2.0
"""One client's HTTP/1.1 connection, parsed and written by h11."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote

import h11

from exporter.web.limits import Limits
from exporter.web.messages import Request, Response
from exporter.web.stream import Stream

_LINGER_BYTES = 256 * 1024
_LINGER_SECONDS = 2.0

_TARGET = re.compile(
    r"(?P<site>[A-Za-z][A-Za-z0-9+.-]*://[^/?]*)?(?P<path>[^?]*)(?:\?(?P<query>.*))?"
)

Respond = Callable[[Request], Awaitable[Response | None]]
"""Makes the response; None: close the connection without a response."""


class HttpConnection:
    """Requests and responses on one connection, until either side closes it."""

    def __init__(self, stream: Stream, respond: Respond, limits: Limits) -> None:
        """Prepare the connection; ``run`` starts reading."""
        self._stream = stream
        self._respond = respond
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self.responding = False
        """A request has been received and its response is not yet sent."""
        self.closing = False
        """Close the connection after the next response."""

    async def run(self) -> None:
        """Serve requests. Raises ``OSError`` and ``TimeoutError`` if the client fails."""
        try:
            while await self._one_request():
                self._http.start_next_cycle()
                if not self._http.trailing_data[0]:
                    async with asyncio.timeout(self._limits.idle_seconds):
                        self._http.receive_data(await self._stream.read())
        except h11.RemoteProtocolError as error:
            await self._refuse(error)

    async def _one_request(self) -> bool:
        """Serve one request; return whether another may follow."""
        async with asyncio.timeout(self._limits.header_seconds):
            event = await self._next_event()
        if not isinstance(event, h11.Request):
            return False  # the client closed
        self.responding = True
        # Request bodies are not used. Without a body, the message has already ended here.
        whole = isinstance(self._http.next_event(), h11.EndOfMessage)
        response = await self._respond(_request(event))
        if response is None:
            return False
        await self._send(response, head=event.method == b"HEAD", close=self.closing or not whole)
        self.responding = False
        if not whole:
            await self._linger()
        return self._http.our_state is h11.DONE

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.read())
        return event

    async def _send(self, response: Response, *, head: bool, close: bool) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
        ]
        if close:
            headers.append(("Connection", "close"))
        start = h11.Response(
            status_code=response.status, headers=headers, reason=response.status.phrase.encode()
        )
        events = (start, h11.Data(b"" if head else response.body), h11.EndOfMessage())
        data = b"".join(self._http.send(event) or b"" for event in events)
        async with asyncio.timeout(self._limits.write_seconds):
            await self._stream.write(data)

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Send an error response to invalid HTTP, if the protocol's state still allows one."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        status = HTTPStatus(error.error_status_hint)
        await self._send(Response(status, f"{error}\n".encode()), head=False, close=True)
        await self._linger()

    async def _linger(self) -> None:
        """Read for a while: closing with unread bytes sends a reset, which loses our response."""
        self._stream.end_writing()
        async with asyncio.timeout(_LINGER_SECONDS):
            read = 0
            while read < _LINGER_BYTES and (data := await self._stream.read()):
                read += len(data)


def _request(event: h11.Request) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, query = _path_and_query(event.target.decode("latin-1"))
    return Request(event.method.decode("ascii"), path, headers, query)


def _path_and_query(target: str) -> tuple[str, str]:
    """Split ``/path?query``, a proxy's absolute URL, or ``*`` (RFC 9112, 3.2)."""
    found = _TARGET.fullmatch(target)
    if not found:
        return target, ""
    return unquote(found["path"]) or ("/" if found["site"] else ""), found["query"] or ""
