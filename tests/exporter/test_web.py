# SPDX-License-Identifier: Apache-2.0
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from exporter.web import Address, Readiness, Server, make_app, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:10917", Address("127.0.0.1", 10917)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:80", Address("::1", 80)),
        (":10917", Address("::", 10917)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "10917", "host", "host:", "host:x", "host:-1", "::1:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is no HOST:PORT"):
        parse_address(text)


def test_a_port_beyond_the_last() -> None:
    with pytest.raises(ValueError, match="ports end at 65535"):
        parse_address("127.0.0.1:65536")


def test_urls() -> None:
    assert Address("127.0.0.1", 1).url == "http://127.0.0.1:1"
    assert Address("::1", 1).url == "http://[::1]:1"


class Readable:
    """What the application asks, to be changed by a test."""

    readiness = Readiness(True, "")


class Site:
    """A server on a free port."""

    def __init__(self, address: Address) -> None:
        self.state = Readable()
        registry = CollectorRegistry()
        Gauge("answer", "Of everything.", registry=registry).set(42)
        app = make_app(registry, "/numbers", lambda: self.state.readiness, lambda: "<h1>hi</h1>")
        self.server = Server(address, app)
        self.port = self.server.server_port

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        host = self.server.server_address[0]
        connection = http.client.HTTPConnection(str(host), self.port, timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body, answer.headers


def serving(address: Address) -> Iterator[Site]:
    site = Site(address)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serving(Address("127.0.0.1", 0))


def test_metrics_where_they_were_put_and_nowhere_else(site: Site) -> None:
    status, body, headers = site.ask("/numbers")
    assert (status, headers["Content-Type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )
    assert b"\nanswer 42.0\n" in body
    assert int(headers["Content-Length"]) == len(body)
    for path in ("/metrics", "/numbers/", "/-/", "/favicon.ico", "/%2e%2e"):
        assert site.ask(path)[0] == 404, path


def test_openmetrics_for_those_who_ask(site: Site) -> None:
    _, body, headers = site.ask("/numbers", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_landing_page(site: Site) -> None:
    status, body, headers = site.ask("/")
    assert (status, body) == (200, b"<h1>hi</h1>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"


def test_healthy_says_nothing_of_ready(site: Site) -> None:
    assert site.ask("/-/ready")[:2] == (200, b"ready\n")
    site.state.readiness = Readiness(False, "no probes")
    assert site.ask("/-/ready")[:2] == (503, b"not ready: no probes\n")
    assert site.ask("/-/healthy")[:2] == (200, b"healthy\n")


def test_head_has_no_body(site: Site) -> None:
    length = site.ask("/numbers")[2]["Content-Length"]
    status, body, headers = site.ask("/numbers", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", length)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(site: Site, method: str) -> None:
    status, _, headers = site.ask("/numbers", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_a_busy_port_is_an_error(site: Site) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        Site(Address("127.0.0.1", site.port))


def test_a_stalled_client_holds_nobody_up(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port)) as stalled:
        stalled.sendall(b"GET /numbers HTT")
        assert site.ask("/numbers")[0] == 200


def test_ipv6() -> None:
    for site in serving(parse_address("[::1]:0")):
        assert site.ask("/-/healthy")[0] == 200
