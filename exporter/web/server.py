# SPDX-License-Identifier: Apache-2.0
"""The server: one event loop in a thread of its own, a task for each client.

A client that stalls costs a socket and some 20 KiB, wherever it stalls: before, in or after the
TLS handshake, in its request, or while it takes the response.
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
from exporter.web.conversation import Conversation
from exporter.web.gate import Gate
from exporter.web.limits import DEFAULT, Limits
from exporter.web.messages import Request, Response
from exporter.web.once import Once
from exporter.web.reload import Rules, WebConfigFile
from exporter.web.stream import Stream
from exporter.web.tls import is_allowed

log = logging.getLogger("hvoscope")

_GRACE_SECONDS = 1.0
"""For responses under way when the server is to stop."""

_BROKEN = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EACCES, errno.EFAULT)
"""Errors of accept(2) that are the listening socket's own, or a security module's: no other try
will go better. All others are one connection's, or pass (no descriptor or memory left)."""

_LEAST_PAUSE, _MOST_PAUSE = 0.001, 0.5
"""Seconds before the next try; doubled as long as it fails."""


class BrokenListenerError(Exception):
    """A listening socket will accept nothing any more; the message is one line."""


class Server:
    """Serves a site on listening sockets. ``start``, then ``stop``; both from any one thread."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        site: Site,
        web_config: WebConfigFile,
        limits: Limits = DEFAULT,
        *,
        when_ended: Callable[[], object] = lambda: None,
    ) -> None:
        """Nothing is accepted before ``start``. ``when_ended`` is called in the server's thread."""
        self._listeners = listeners
        self._web_config = web_config
        self._limits = limits
        self._gate = Gate(site, limits)
        self._once = Once(log)
        self._clients: dict[asyncio.Task[None], tuple[Stream, Conversation]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._has_loop = threading.Event()
        self._stopping = asyncio.Event()
        self._when_ended = when_ended
        self.problem = ""
        """Why it ended by itself, one line; empty as long as it serves, and after ``stop``."""

    def start(self) -> None:
        """Accept from now on."""
        self._thread.start()
        self._has_loop.wait()

    def stop(self) -> None:
        """Close the listeners; let responses under way out, for a second; cut the rest off."""
        self._call(self._stopping.set)
        if self._thread.ident:
            self._thread.join()

    def reload(self) -> None:
        """Read the web configuration again."""
        self._call(self._web_config.reload)

    def turns(self, seconds: float) -> bool:
        """Whether the event loop still turns: it answers within ``seconds``."""
        turned = threading.Event()
        self._call(turned.set)
        return turned.wait(seconds)

    @property
    def clients(self) -> int:
        """Connections that are open."""
        return len(self._clients)

    def has_ended(self) -> bool:
        """Whether it serves no more."""
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
            self.problem = "the web side has ended by itself"
            log.exception("the web side has ended by itself")
        finally:
            self._when_ended()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        self._has_loop.set()
        return self._loop

    async def _serve(self) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        accepting = [asyncio.create_task(self._accept(one)) for one in self._listeners]
        try:
            done, _ = await asyncio.wait(
                (stopping, *accepting), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()  # raises what ended it, if it was not us
        finally:
            await _cancel((stopping, *accepting))
            for listener in self._listeners:
                listener.close()
            await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        for task, (_, conversation) in self._clients.items():
            conversation.ending = True
            if not conversation.in_hand:
                task.cancel()
        if self._clients:
            await asyncio.wait(list(self._clients), timeout=_GRACE_SECONDS)
        await _cancel(list(self._clients))

    async def _accept(self, listener: socket.socket) -> None:
        address = sockets.address_of(listener)
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        pause = _LEAST_PAUSE
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _BROKEN:
                    raise BrokenListenerError(
                        f"can't accept connections on {address} any more: {error.strerror}"
                    ) from error
                self._once.error("can't accept a connection: %s", error.strerror)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MOST_PAUSE)
                continue
            pause = _LEAST_PAUSE
            self._make_room()
            self._welcome(client)
            await asyncio.sleep(0)  # a burst of newcomers must not keep the loop to itself

    def _welcome(self, client: socket.socket) -> None:
        rules = self._web_config.current()
        try:
            stream = Stream(client, rules.context)
        except OSError:  # gone already
            client.close()
            return

        async def respond(request: Request) -> Response | None:
            now = self._web_config.current()
            if now.context is not rules.context:
                return None  # this connection was let in by rules that are no more
            return await self._gate.respond(request, now)

        conversation = Conversation(stream, respond, self._limits)
        task = asyncio.create_task(self._converse(stream, conversation, rules))
        self._clients[task] = stream, conversation
        task.add_done_callback(self._farewell)

    def _farewell(self, task: asyncio.Task[None]) -> None:
        stream, _ = self._clients.pop(task)
        stream.close()  # a task that is cut off before its first step runs no line of its own
        if not task.cancelled() and (error := task.exception()):
            self._once.error("a connection failed: %s: %s", type(error).__name__, error)

    async def _converse(self, stream: Stream, conversation: Conversation, rules: Rules) -> None:
        try:
            if await self._shake_hands(stream, rules):
                await conversation.run()
        except (OSError, TimeoutError):
            pass  # the client's fault, and the client's loss

    async def _shake_hands(self, stream: Stream, rules: Rules) -> bool:
        try:
            async with asyncio.timeout(self._limits.handshake_seconds):
                await stream.handshake()
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or error
            self._once.warning("a TLS handshake failed: %s", reason)
            return False
        if not is_allowed(stream.peer_certificate(), rules.allowed_sans):
            self._once.warning("a client's certificate has none of client_allowed_sans")
            return False
        return True

    def _make_room(self) -> None:
        """Cut off who has kept us waiting longest; one whose response is under way comes last."""
        if len(self._clients) < self._limits.connections:
            return
        waiting = [
            (conversation.in_hand, stream.waiting_since, task)
            for task, (stream, conversation) in self._clients.items()
            if stream.waiting_since is not None
        ]
        if waiting:
            min(waiting, key=lambda entry: entry[:2])[2].cancel()


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
