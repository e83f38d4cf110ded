# SPDX-License-Identifier: Apache-2.0
"""Stalled clients do not block scrapes, and are disconnected."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.web.limits import DEFAULT
from tests.exporter.web import hostile
from tests.exporter.web.certificates import WEB_CONFIG, client, write_server
from tests.exporter.web.hostile import Where
from tests.exporter.web.site import Numbers, Served, eventually

BRIEF = DEFAULT._replace(handshake_seconds=0.2, header_seconds=0.2)


def wait_for_the_end(stream: socket.socket) -> None:
    """Read until the server closes or resets. Raises ``TimeoutError`` if it does not."""
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while stream.recv(65536):
            pass


Kinds = Sequence[Callable[[Where], socket.socket]]
BOTH = pytest.mark.parametrize(
    ("text", "kinds"), [("", hostile.PLAIN), (WEB_CONFIG, hostile.TLS)], ids=["plain", "tls"]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_server(tmp_path)
    return tmp_path / "web.yml"


@BOTH
def test_scrapes_succeed_beside_stalled_clients(path: Path, text: str, kinds: Kinds) -> None:
    path.write_text(text)
    context = client() if text else None
    with (
        Served(Numbers().site(), path) as served,
        hostile.stalled(served.where, kinds, 101),
        ThreadPoolExecutor(8) as scrapers,
    ):
        answers = scrapers.map(
            lambda _: served.ask("/numbers", context=context), range(53), timeout=30
        )
        assert all(status == 200 and b"\nanswer 42.0\n" in body for status, body, _ in answers)


@BOTH
def test_each_kind_of_stalled_client_is_disconnected(path: Path, text: str, kinds: Kinds) -> None:
    path.write_text(text)
    with (
        Served(Numbers().site(), path, BRIEF) as served,
        hostile.stalled(served.where, kinds, 23) as clients,
    ):
        for stream in clients:
            wait_for_the_end(stream)
        eventually(lambda: served.server.clients == 0)


def test_a_silent_client_begins_no_handshake(path: Path) -> None:
    path.write_text(WEB_CONFIG)
    with Served(Numbers().site(), path) as served:
        context = served.config.current().context
        assert context
        before = context.session_stats()["accept"]
        with hostile.stalled(served.where, [hostile.silent], 23):
            eventually(lambda: served.server.clients == 23)
            assert context.session_stats()["accept"] == before
            with hostile.stalled(served.where, [hostile.half_a_hello], 5):
                eventually(lambda: context.session_stats()["accept"] == before + 5)


def test_at_the_limit_the_longest_stalled_are_disconnected(path: Path) -> None:
    path.write_text("")
    limits = DEFAULT._replace(connections=5, header_seconds=600)
    with (
        Served(Numbers().site(), path, limits) as served,
        hostile.stalled(served.where, hostile.PLAIN, 23) as clients,
    ):
        for _ in range(7):
            assert served.ask("/numbers")[0] == 200
        assert served.server.clients <= 5
        for stream in clients[:18]:
            wait_for_the_end(stream)


def test_a_client_that_does_not_read_delays_no_other(path: Path) -> None:
    path.write_text(WEB_CONFIG)
    with (
        Served(Numbers().site(), path, DEFAULT._replace(write_seconds=0.2)) as served,
        hostile.many_requests_and_no_reading(served.where),
    ):
        assert served.ask("/numbers", context=client())[0] == 200
