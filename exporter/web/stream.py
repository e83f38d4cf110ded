# SPDX-License-Identifier: Apache-2.0
"""A client's byte stream, plain or TLS, over a non-blocking socket.

asyncio's own TLS keeps a buffer of 256 KiB per connection (``sslproto.SSLProtocol``): 200 clients
stalled in their handshakes cost more than 60 MB. Waiting on the socket needs no buffer.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

_CHUNK = 16 * 1024
"""Bytes per read or write: the largest TLS record, and enough for any request."""


class Stream:
    """Asynchronous reads and writes. Raises ``OSError``, including ``ssl.SSLError``."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext | None) -> None:
        """Take over a connected socket; with ``context``, call ``handshake`` first."""
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            # Otherwise the last chunk waits for the previous one's acknowledgment (Nagle).
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._context = context
        self.waiting_since: float | None = None
        """Loop time since which it has waited for its client; None while it does not wait."""

    async def handshake(self) -> None:
        """Perform the TLS handshake, if TLS is configured.

        It begins when the client does: a silent one has no TLS state, which takes the most memory.
        """
        if not self._context:
            return
        await self._ready(writing=False)
        self._socket = self._context.wrap_socket(
            self._socket, server_side=True, do_handshake_on_connect=False
        )
        await self._when_ready(self._socket.do_handshake, writing=False)

    def peer_certificate(self) -> dict[str, Any]:
        """Return the client's verified certificate; empty without one."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.getpeercert() or {}
        return {}

    async def read(self) -> bytes:
        """Return the next bytes; empty at end of file."""
        data: bytes = await self._when_ready(lambda: self._socket.recv(_CHUNK), writing=False)
        return data

    async def write(self, data: bytes) -> None:
        """Write all of ``data``."""
        rest = memoryview(data)
        while rest:
            # One chunk per call: after a wait, TLS requires the same bytes again.
            chunk = rest[:_CHUNK]
            sent = await self._when_ready(partial(self._socket.send, chunk), writing=True)
            rest = rest[sent:]

    def end_writing(self) -> None:
        """Shut down the writing side; reading continues."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close immediately; send TLS close_notify only if that does not block."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()
        self._socket.close()

    async def _when_ready(self, action: Callable[[], Any], *, writing: bool) -> Any:
        while True:
            try:
                return action()
            except ssl.SSLWantReadError:
                await self._ready(writing=False)
            except ssl.SSLWantWriteError:
                await self._ready(writing=True)
            except BlockingIOError:
                await self._ready(writing=writing)

    async def _ready(self, *, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        add, remove = (
            (loop.add_writer, loop.remove_writer)
            if writing
            else (loop.add_reader, loop.remove_reader)
        )
        ready = asyncio.Event()
        self.waiting_since = loop.time()
        add(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            remove(self._socket)
            self.waiting_since = None
