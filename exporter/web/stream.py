# SPDX-License-Identifier: Apache-2.0
"""The bytes of one client, plain or TLS, over a non-blocking socket.

asyncio's own TLS keeps a buffer of 256 KiB for each connection (``sslproto.SSLProtocol``), so that
200 clients stalled in their handshakes cost 60 MB and more. Waiting for the socket costs none.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

_PIECE = 16 * 1024
"""Bytes: the largest TLS record, and enough for any request."""


class Stream:
    """Reads and writes that wait without a thread. Raises ``OSError`` (``ssl.SSLError`` is one)."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext | None) -> None:
        """Take over a connected socket; with ``context``, ``handshake`` comes first."""
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            # The last piece must not wait until the one before is acknowledged (Nagle).
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        if context:
            self._socket = context.wrap_socket(
                connected, server_side=True, do_handshake_on_connect=False
            )
        self.waiting_since: float | None = None
        """Loop time at which it began to wait for its client; None while it does not."""

    async def handshake(self) -> None:
        """Agree on TLS, where there is to be any."""
        if isinstance(self._socket, ssl.SSLSocket):
            await self._when_ready(self._socket.do_handshake, writing=False)

    def peer_certificate(self) -> dict[str, Any]:
        """The verified certificate of the client; empty without one."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.getpeercert() or {}
        return {}

    async def read(self) -> bytes:
        """Bytes as they come; none at the end."""
        data: bytes = await self._when_ready(lambda: self._socket.recv(_PIECE), writing=False)
        return data

    async def write(self, data: bytes) -> None:
        """Write it all."""
        rest = memoryview(data)
        while rest:
            # One piece a call: TLS wants the very same bytes again after a wait.
            piece = rest[:_PIECE]
            sent = await self._when_ready(partial(self._socket.send, piece), writing=True)
            rest = rest[sent:]

    def end_writing(self) -> None:
        """Tell the client that nothing more comes, and go on reading."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close at once; a TLS client is told, if it takes no waiting."""
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
