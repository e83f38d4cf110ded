# SPDX-License-Identifier: Apache-2.0
"""The server: one event loop in its own thread, one task per client.

A stalled client costs a socket and what BENCHMARKS.md says: least before its TLS handshake, most in
it. None costs a thread.
"""

import asyncio
import errno
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

from exporter.web import sockets
from exporter.web.app import Site
from exporter.web.handler import RequestHandler
from exporter.web.http_connection import HttpConnection
from exporter.web.limits import DEFAULT, Limits
from exporter.web.log_once import LogOnce
from exporter.web.messages import Request, Response
from exporter.web.reload import ActiveConfig, WebConfigFile
from exporter.web.stream import Stream
from exporter.web.tls import is_allowed

log = logging.getLogger("hvoscope")

_GRACE_SECONDS = 1.0
"""Time for responses in progress when the server stops."""

_FATAL = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EACCES, errno.EFAULT)
"""Errors of accept(2) that a retry can't fix: of the listening socket or a security module. All
others concern one connection, or are temporary (out of descriptors or memory)."""

_MIN_PAUSE, _MAX_PAUSE = 0.001, 0.5
"""Seconds before a retry of accept; doubled while it fails."""


class BrokenListenerError(Exception):
    """A listening socket can no longer accept; the message is one line."""


class Server:
    """Serves a site on listening sockets. Call ``start`` and ``stop`` from the same thread."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        site: Site,
        web_config: WebConfigFile,
        limits: Limits = DEFAULT,
        *,
        when_ended: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare the server; ``when_ended`` is called in its thread."""
        self._listeners = listeners
        self._web_config = web_config
        self._limits = limits
        self._handler = RequestHandler(site, limits)
        self._log = LogOnce(log)
        self._clients: dict[asyncio.Task[None], tuple[Stream, HttpConnection]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._loop_ready = threading.Event()
        self._stopping = asyncio.Event()
        self._when_ended = when_ended
        self.problem = ""
        """Why it ended unexpectedly, one line; empty while it serves, and after ``stop``."""

    def start(self) -> None:
        """Start accepting connections."""
        self._thread.start()
        self._loop_ready.wait()

    def stop(self) -> None:
        """Close the listeners, wait a second for responses in progress, close all connections."""
        self._call(self._stopping.set)
        if self._thread.ident:
            self._thread.join()

    def reload(self) -> None:
        """Reload the web configuration."""
        self._call(self._web_config.reload)

    def is_responsive(self, seconds: float) -> bool:
        """Tell whether the event loop runs a callback within ``seconds``."""
        called = threading.Event()
        self._call(called.set)
        return called.wait(seconds)

    @property
    def clients(self) -> int:
        """Number of open connections."""
        return len(self._clients)

    def has_ended(self) -> bool:
        """Tell whether the server's thread has ended."""
        return not self._thread.is_alive()

    def _call(self, action: Callable[[], object]) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._new_loop) as runner:
                runner.run(self._serve())
        except BrokenListenerError as error:
            self.problem = str(error)
        except BaseException:
            self.problem = "the web server ended unexpectedly"
            log.exception("the web server ended unexpectedly")
        finally:
            self._when_ended()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        self._loop_ready.set()
        return self._loop

    async def _serve(self) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        accepting = [asyncio.create_task(self._accept(one)) for one in self._listeners]
        try:
            done, _ = await asyncio.wait(
                (stopping, *accepting), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()  # raises the error of a listener, if one ended
        finally:
            await _cancel((stopping, *accepting))
            for listener in self._listeners:
                listener.close()
            await self._drain()

    async def _drain(self) -> None:
        """Wait for responses in progress, then close all connections."""
        for task, (_, connection) in self._clients.items():
            connection.closing = True
            if not connection.responding:
                task.cancel()
        if self._clients:
            await asyncio.wait(list(self._clients), timeout=_GRACE_SECONDS)
        await _cancel(list(self._clients))

    async def _accept(self, listener: socket.socket) -> None:
        address = sockets.address_of(listener)
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        pause = _MIN_PAUSE
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _FATAL:
                    raise BrokenListenerError(
                        f"can no longer accept connections on {address}: {error.strerror}"
                    ) from error
                self._log.error("can't accept a connection: %s", error.strerror)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE)
                continue
            pause = _MIN_PAUSE
            self._evict_if_full()
            self._add_client(client)
            await asyncio.sleep(0)  # a burst of new connections must not block other tasks

    def _add_client(self, client: socket.socket) -> None:
        accepted_under = self._web_config.current()
        try:
            stream = Stream(client, accepted_under.context)
        except OSError:  # the client has already disconnected
            client.close()
            return

        async def respond(request: Request) -> Response | None:
            now = self._web_config.current()
            if now.context is not accepted_under.context:
                return None  # accepted under a TLS configuration that was reloaded since
            return await self._handler.respond(request, now)

        connection = HttpConnection(stream, respond, self._limits)
        task = asyncio.create_task(self._serve_client(stream, connection, accepted_under))
        self._clients[task] = stream, connection
        task.add_done_callback(self._remove_client)

    def _remove_client(self, task: asyncio.Task[None]) -> None:
        stream, _ = self._clients.pop(task)
        stream.close()  # not in the task: one that is cancelled before it starts runs no code
        if not task.cancelled() and (error := task.exception()):
            self._log.error("a connection failed: %s: %s", type(error).__name__, error)

    async def _serve_client(
        self, stream: Stream, connection: HttpConnection, active: ActiveConfig
    ) -> None:
        try:
            if await self._handshake(stream, active):
                await connection.run()
        except (OSError, TimeoutError):
            pass  # caused by the client, not worth a log line

    async def _handshake(self, stream: Stream, active: ActiveConfig) -> bool:
        try:
            async with asyncio.timeout(self._limits.handshake_seconds):
                await stream.handshake()
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or error
            self._log.warning("TLS handshake failed: %s", reason)
            return False
        if not is_allowed(stream.peer_certificate(), active.allowed_sans):
            self._log.warning("client certificate matches none of client_allowed_sans")
            return False
        return True

    def _evict_if_full(self) -> None:
        """At the limit, close the longest-stalled connection; prefer those without a request."""
        if len(self._clients) < self._limits.connections:
            return
        waiting = [
            (connection.responding, stream.waiting_since, task)
            for task, (stream, connection) in self._clients.items()
            if stream.waiting_since is not None
        ]
        if waiting:
            min(waiting, key=lambda entry: entry[:2])[2].cancel()


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
