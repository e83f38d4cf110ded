# SPDX-License-Identifier: Apache-2.0
"""A site with one metric, served on a free loopback port."""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Gauge

from exporter.web import sockets
from exporter.web.addresses import Address, TcpAddress
from exporter.web.app import Readiness, Site, make_site
from exporter.web.limits import DEFAULT, Limits
from exporter.web.reload import WebConfigFile
from exporter.web.server import Server

LOOPBACK = TcpAddress("127.0.0.1", 0)


class Numbers:
    """The site and its state, which tests change."""

    def __init__(self) -> None:
        self.readiness = Readiness(True, "")
        self.registry = CollectorRegistry()
        Gauge("answer", "Of everything.", registry=self.registry).set(42)

    def site(self) -> Site:
        return make_site(self.registry, "/numbers", lambda: self.readiness, lambda: "<h1>hi</h1>")


class Served:
    """A server that runs during the ``with`` block."""

    def __init__(
        self,
        site: Site,
        config: Path | None = None,
        limits: Limits = DEFAULT,
        address: Address = LOOPBACK,
    ) -> None:
        (listener,) = sockets.listen([address])
        self.address = sockets.address_of(listener)
        self.config = WebConfigFile(config, lambda: 0.0)
        self.server = Server([listener], site, self.config, limits)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.server.stop()

    @property
    def where(self) -> tuple[str, int]:
        assert isinstance(self.address, TcpAddress)
        return self.address

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        context: ssl.SSLContext | None = None,
        **headers: str,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Send one request on a new connection; underscores in header names become dashes."""
        with self.connection(context) as connection:
            return ask(connection, path, method, **headers)

    @contextmanager
    def connection(
        self, context: ssl.SSLContext | None = None
    ) -> Iterator[http.client.HTTPConnection]:
        host, port = self.where
        connection = (
            http.client.HTTPSConnection(host, port, timeout=30, context=context)
            if context
            else http.client.HTTPConnection(host, port, timeout=30)
        )
        try:
            yield connection
        finally:
            connection.close()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition that another thread sets."""
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("timeout: the condition is still false")


def ask(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Send one request on an open connection: status, body, headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers
