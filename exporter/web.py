# SPDX-License-Identifier: Apache-2.0
"""The web side: which path answers what, and the server that carries it.

prometheus_client's own server answers every path with metrics, so that a health check could never
fail; this one routes.
"""

import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

Response = tuple[str, str, bytes]
"""Status line, content type, body."""

_TEXT = "text/plain; charset=utf-8"


class Readiness(NamedTuple):
    """The answer to ``/-/ready``: whether, and one line why not."""

    ready: bool
    reason: str


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """For people: with brackets around an IPv6 host."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``127.0.0.1:10917``, ``[::1]:10917``, ``localhost:10917`` or ``:10917`` (every address).

    Raises ``ValueError`` with the reason.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdecimal() or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is no HOST:PORT (write it like 127.0.0.1:10917 or [::1]:10917)")
    if int(port) > 65535:
        raise ValueError(f"{text!r}: ports end at 65535")
    return Address(host[1:-1] if bracketed else host or "::", int(port))


def make_app(
    registry: CollectorRegistry,
    telemetry_path: str,
    readiness: Callable[[], Readiness],
    landing_page: Callable[[], str],
) -> WSGIApplication:
    """Build the application: metrics, landing page, ``/-/healthy``, ``/-/ready``; 404 elsewhere."""

    def metrics(environ: WSGIEnvironment) -> Response:
        encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        return "200 OK", content_type, encode(registry)

    def ready(_: WSGIEnvironment) -> Response:
        state = readiness()
        if state.ready:
            return "200 OK", _TEXT, b"ready\n"
        return "503 Service Unavailable", _TEXT, f"not ready: {state.reason}\n".encode()

    routes: dict[str, Callable[[WSGIEnvironment], Response]] = {
        "/": lambda _: ("200 OK", "text/html; charset=utf-8", landing_page().encode()),
        telemetry_path: metrics,
        "/-/healthy": lambda _: ("200 OK", _TEXT, b"healthy\n"),
        "/-/ready": ready,
    }

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        headers = []
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, content_type, body = "405 Method Not Allowed", _TEXT, b"GET or HEAD\n"
            headers.append(("Allow", "GET, HEAD"))
        elif route := routes.get(environ.get("PATH_INFO", "")):
            status, content_type, body = route(environ)
        else:
            status, content_type, body = "404 Not Found", _TEXT, b"no such page\n"
        headers += [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return app


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds for a client to say something

    def log_message(self, *args: Any) -> None:
        """A scrape every few seconds is no news."""


class Server(ThreadingMixIn, WSGIServer):
    """A thread per request; threads do not hold up the exit."""

    daemon_threads = True

    def __init__(self, address: Address, app: WSGIApplication) -> None:
        """Bind and listen; raises ``OSError``. ``serve_forever`` then serves."""
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self.address_family = found[0][0]
        super().__init__((address.host, address.port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """As inherited, less the reverse look-up of the host's name, which may take seconds."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()
