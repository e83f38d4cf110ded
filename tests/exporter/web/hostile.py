# SPDX-License-Identifier: Apache-2.0
"""Clients that stall, each at another point, and one that does not read its response."""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.exporter.web.certificates import client

Where = tuple[str, int]
_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"


def silent(where: Where) -> socket.socket:
    """Connects and sends nothing."""
    return socket.create_connection(where, 30)


def half_a_request(where: Where) -> socket.socket:
    """Begins a request in plain HTTP."""
    return _saying(where, _REQUEST)


def half_a_hello(where: Where) -> socket.socket:
    """Stalls within the first message of a TLS handshake."""
    return _saying(where, client_hello()[:100])


def a_hello(where: Where) -> socket.socket:
    """Stalls after the first message of a TLS handshake."""
    return _saying(where, client_hello())


def half_a_request_in_tls(where: Where) -> socket.socket:
    """Completes the TLS handshake and begins a request."""
    stream = client().wrap_socket(socket.create_connection(where, 30), server_hostname=where[0])
    stream.sendall(_REQUEST)
    return stream


def many_requests_and_no_reading(where: Where) -> socket.socket:
    """Requests more than the sockets' buffers hold and reads nothing."""
    stream = client().wrap_socket(_narrow(where), server_hostname=where[0])
    stream.sendall((_REQUEST + b"\r\n") * 1009)
    return stream


PLAIN = (silent, half_a_request)
TLS = (silent, half_a_hello, a_hello, half_a_request_in_tls)


@contextmanager
def stalled(
    where: Where, kinds: Sequence[Callable[[Where], socket.socket]], number: int
) -> Iterator[list[socket.socket]]:
    """Start ``number`` clients, of every kind in turn."""
    with ExitStack() as stack:
        yield [stack.enter_context(kinds[n % len(kinds)](where)) for n in range(number)]


def client_hello() -> bytes:
    """Return the first message of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs two")


def _saying(where: Where, data: bytes) -> socket.socket:
    stream = socket.create_connection(where, 30)
    stream.sendall(data)
    return stream


def _narrow(where: Where) -> socket.socket:
    """Connect with the smallest possible receive buffer."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    stream.settimeout(30)
    stream.connect(where)
    return stream
