# SPDX-License-Identifier: Apache-2.0
"""Mutated HTTP: every response is complete and valid, and nothing crashes."""

import asyncio
import re
from http import HTTPStatus
from random import Random

import pytest

from exporter.web.http_connection import HttpConnection
from exporter.web.limits import DEFAULT
from exporter.web.messages import Request, Response
from exporter.web.stream import Stream
from tests.exporter.web.site import Numbers
from tests.soak.mutate import mutations

pytestmark = pytest.mark.soak

INPUTS = 16_000

GOOD = (
    b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /-/ready HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=0.5, *\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
    b"POST /numbers HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /nothing?a=%41 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
    b"GET http://x:1/-/healthy HTTP/1.0\r\nAuthorization: Basic YTpi\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
)
WORDS = (
    *(b"\r\n", b"\n", b"\r\n\r\n", b"\0", b"\xff", b" ", b"\t", b":", b"%", b"%00", b"%ff", b"?"),
    *(b"//", b"://", b"/../", b"*", b"HTTP/1.1", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(b"Host: y\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"x" * 20_000),
    *(b"Connection: keep-alive\r\n", b"Accept: application/openmetrics-text\r\n", b"ffffffff\r\n"),
)

BODIES = {
    200: (b"<h1>hi</h1>", b"healthy\n", b"ready\n", b""),
    404: (b"no such page\n",),
    405: (b"GET or HEAD\n",),
}
"""The site's only bodies; others are h11's, for invalid requests."""


class Fed(Stream):
    """A client in memory: sends its input in pieces, and closes."""

    def __init__(self, reported: list[bytes]) -> None:
        self.waiting_since = None
        self._said = reported
        self.heard = b""

    async def read(self) -> bytes:
        return self._said.pop(0) if self._said else b""

    async def write(self, data: bytes) -> None:
        self.heard += data

    def end_writing(self) -> None:
        pass


def pieces(random: Random, data: bytes) -> list[bytes]:
    at = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 3)))
    parts = (data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True))
    return [part for part in parts if part]


def check(heard: bytes) -> int:
    """Parse concatenated responses, without other data; return their number."""
    count = 0
    while heard:
        found = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n((?:[\w-]+: [^\r\n]*\r\n)+)\r\n", heard)
        assert found, heard[:200]
        status, rest = int(found[1]), heard[found.end() :]
        length = int(re.findall(rb"(?m)^Content-Length: (\d+)\r$", found[2])[0])
        is_head = not rest or rest.startswith(b"HTTP/1.1 ")
        body, heard = (b"", rest) if is_head else (rest[:length], rest[length:])
        assert is_head or len(body) == length
        assert status in (200, 404, 405) or 400 <= status < 500 or status == 501
        assert is_head or status not in BODIES or body in BODIES[status]
        count += 1
    return count


class Client:
    """Sends inputs to connections of one site, in memory."""

    def __init__(self) -> None:
        self._site = Numbers().site()

    async def _respond(self, request: Request) -> Response:
        if request.path == self._site.telemetry_path:
            return Response(HTTPStatus.NOT_FOUND, b"no such page\n")  # without the expensive page
        return self._site.answer(request)

    async def responses(self, parts: list[bytes]) -> int:
        """Number of responses to an input that arrives in ``parts``, each of them valid."""
        client = Fed(parts)
        async with asyncio.timeout(60):
            await HttpConnection(client, self._respond, DEFAULT).run()
        return check(client.heard)


def test_http() -> None:
    client = Client()
    random = Random(23)

    async def all_of_them() -> int:
        inputs = mutations(23, GOOD, INPUTS, WORDS)
        return sum([await client.responses(pieces(random, data)) for data in inputs])

    assert asyncio.run(all_of_them()) > INPUTS / 2  # most inputs get a response that is checked
