# SPDX-License-Identifier: Apache-2.0
"""The server as its clients see it, over real sockets."""

import asyncio
import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import Gauge

from exporter.web.addresses import TcpAddress, UnixAddress, parse_address
from exporter.web.app import Readiness, Site
from exporter.web.auth import Users
from exporter.web.handler import RequestHandler
from exporter.web.limits import DEFAULT
from exporter.web.messages import Request, Response
from exporter.web.reload import WebConfigFile
from exporter.web.sockets import ListenError
from tests.exporter.web.site import Numbers, Served, ask, eventually


@pytest.fixture
def numbers() -> Numbers:
    return Numbers()


@pytest.fixture
def served(numbers: Numbers) -> Iterator[Served]:
    with Served(numbers.site()) as served:
        yield served


def raw(served: Served, sent: bytes) -> bytes:
    """Return all data until the server closes."""
    with socket.create_connection(served.where, 30) as client:
        client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_metrics_are_only_at_the_telemetry_path(served: Served) -> None:
    status, body, headers = served.ask("/numbers")
    assert (status, headers["Content-Type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )
    assert b"\nanswer 42.0\n" in body
    assert int(headers["Content-Length"]) == len(body)
    for path in ("/metrics", "/numbers/", "/-/", "/favicon.ico", "/%2e%2e"):
        assert served.ask(path)[0] == 404, path


def test_percent_encoded_paths_are_decoded(served: Served) -> None:
    for path in ("/numbers?name=answer", "/number%73", "http://anywhere.example/numbers?x"):
        assert served.ask(path)[0] == 200, path


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://anywhere.example", 200),
        ("http://anywhere.example?x", 200),
        ("HTTP://anywhere.example:80/numb%65rs?name[]=answer&x=/-/ready", 200),
        ("http://[::1/numbers", 200),  # the authority is not checked
        ("/numbers?", 200),
        ("/numbers?a=://b/c", 200),
        ("/numbers?name%5B%5D=answer", 200),
        ("/numbers%3Fname", 404),
        ("/a://b/numbers", 404),
        ("*", 404),
        ("numbers", 404),
        ("anywhere.example:80", 404),
        ("/%00%ff%", 404),
    ],
)
def test_every_form_of_a_target(served: Served, target: str, status: int) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(served, request.encode()).startswith(b"HTTP/1.1 %d " % status)


def test_openmetrics_on_request(served: Served) -> None:
    _, body, headers = served.ask("/numbers", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_landing_page(served: Served) -> None:
    status, body, headers = served.ask("/")
    assert (status, body) == (200, b"<h1>hi</h1>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"


def test_healthy_is_independent_of_ready(served: Served, numbers: Numbers) -> None:
    assert served.ask("/-/ready")[:2] == (200, b"ready\n")
    numbers.readiness = Readiness(False, "no probes")
    assert served.ask("/-/ready")[:2] == (503, b"not ready: no probes\n")
    assert served.ask("/-/healthy")[:2] == (200, b"healthy\n")


def test_head_has_no_body(served: Served) -> None:
    length = served.ask("/numbers")[2]["Content-Length"]
    status, body, headers = served.ask("/numbers", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", length)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused(served: Served, method: str) -> None:
    status, _, headers = served.ask("/numbers", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/", "/numbers", "/-/healthy", "*"])
def test_options_lists_allowed_methods(served: Served, path: str) -> None:
    status, body, headers = served.ask(path, "OPTIONS")
    assert (status, body, headers["Allow"]) == (200, b"", "GET, HEAD, OPTIONS")
    assert headers["Content-Length"] == "0"


def test_options_of_an_unknown_page(served: Served) -> None:
    assert served.ask("/nothing", "OPTIONS")[0] == 404


def test_haproxys_default_health_check(served: Served) -> None:
    answer = raw(served, b"OPTIONS / HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_many_requests_on_one_connection(served: Served) -> None:
    with served.connection() as connection:
        for _ in range(23):
            assert ask(connection, "/numbers")[0] == 200
        first = connection.sock
        assert ask(connection, "/nothing")[0] == 404
        assert connection.sock is first


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    one = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = raw(served, one * 5 + last)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert answers.count(b"HTTP/1.1 404 Not Found\r\n") == 1
    assert answers.endswith(b"no such page\n")


def test_a_request_with_a_body_gets_a_response(served: Served) -> None:
    size = 200_000
    answer = raw(
        served,
        b"POST /numbers HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size,
    )
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nConnection: close\r\n" in answer


def test_a_client_of_http_1_0(served: Served) -> None:
    answer = raw(served, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhealthy\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: y\r\n\r\n", HTTPStatus.NOT_IMPLEMENTED),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"x" * 20_000,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
    ],
)
def test_an_invalid_request_gets_an_error_response(
    served: Served, sent: bytes, status: HTTPStatus
) -> None:
    assert raw(served, sent).startswith(b"HTTP/1.1 %d " % status)
    assert served.ask("/-/healthy")[0] == 200


def test_a_silent_client_is_disconnected(numbers: Numbers) -> None:
    limits = DEFAULT._replace(header_seconds=0.05, idle_seconds=0.05)
    with Served(numbers.site(), limits=limits) as served:
        assert raw(served, b"") == b""
        assert raw(served, b"GET /numbers HTT") == b""
        answer = raw(served, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.endswith(b"healthy\n")  # and no further response


def large(_: Request) -> Response:
    return Response(HTTPStatus.OK, b"x" * 10_000_000)


def test_a_client_that_does_not_read_is_disconnected() -> None:
    limits = DEFAULT._replace(write_seconds=0.05)
    with (
        Served(Site({"/large": large}, "/large"), limits=limits) as served,
        socket.create_connection(served.where, 30) as client,
    ):
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1, socket.MSG_PEEK) == b"H"
        eventually(lambda: served.server.clients == 0)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                received += len(data)
        assert received < 10_000_000


def refuses(where: tuple[str, int]) -> bool:
    try:
        socket.create_connection(where, 30).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was closed just now, with this connection in its queue
        return False
    return False


class Slow:
    """A page that blocks until a test releases it."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.site = Site({"/slow": self.page, "/-/healthy": large}, "/slow")

    def page(self, _: Request) -> Response:
        self.begun.release()
        self.go_on.wait(30)
        return Response(HTTPStatus.OK, b"at last\n")


GET_SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_scrapes_above_the_limit_get_503_and_other_pages_do_not() -> None:
    slow = Slow()
    limits = DEFAULT._replace(scrapes=2, threads=2)
    with Served(slow.site, limits=limits) as served:
        clients = [socket.create_connection(served.where, 30) for _ in range(2)]
        for client in clients:
            client.sendall(GET_SLOW)
            assert slow.begun.acquire(timeout=30)
        status, body, headers = served.ask("/slow")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert body == b"limit of concurrent requests reached (2)\n"
        assert served.ask("/-/healthy")[0] == 200
        slow.go_on.set()
        for client in clients:
            with client, client.makefile("rb") as answer:
                assert answer.read().endswith(b"at last\n")
        assert served.ask("/slow")[0] == 200


def test_a_slow_page_times_out() -> None:
    slow = Slow()
    with Served(slow.site, limits=DEFAULT._replace(page_seconds=0.05)) as served:
        assert served.ask("/slow")[:2] == (503, b"timeout after 0.05 s\n")
        slow.go_on.set()


def test_a_response_in_progress_is_sent_before_the_stop() -> None:
    slow = Slow()
    with Served(slow.site) as served, socket.create_connection(served.where, 30) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.begun.acquire(timeout=30)
        stopping = threading.Thread(target=served.server.stop)
        stopping.start()
        eventually(lambda: refuses(served.where))
        slow.go_on.set()
        with client.makefile("rb") as answer:
            reported = answer.read()
        assert b"\r\nConnection: close\r\n" in reported
        assert reported.endswith(b"at last\n")
        stopping.join()


def test_a_hanging_page_does_not_delay_the_stop() -> None:
    slow = Slow()
    with Served(slow.site) as served, socket.create_connection(served.where, 30) as client:
        client.sendall(GET_SLOW)
        assert slow.begun.acquire(timeout=30)
        served.server.stop()
        assert client.recv(1) == b""
        assert served.server.has_ended()
    slow.go_on.set()


def test_a_page_with_a_bug_is_a_500_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Request) -> Response:
        raise RuntimeError("a bug")

    with Served(Site({"/broken": broken}, "/broken")) as served:
        assert served.ask("/broken")[0] == 500
        assert served.ask("/broken")[0] == 500
    assert [r.message for r in caplog.records] == [
        "/broken failed: RuntimeError: a bug (logged once)"
    ]


def test_an_authentication_with_a_bug_is_a_500(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Users):
        async def allow(self, authorization: str) -> bool:
            raise RuntimeError("a bug")

    async def respond() -> Response:
        handler = RequestHandler(Numbers().site(), DEFAULT)
        rules = replace(WebConfigFile(None, lambda: 0.0).current(), users=Broken({}))
        return await handler.respond(Request("GET", "/", {}), rules)

    assert asyncio.run(respond()).status == 500
    assert [r.message for r in caplog.records] == ["/ failed: RuntimeError: a bug (logged once)"]


def test_a_busy_port_is_an_error(served: Served) -> None:
    host, port = served.where
    with pytest.raises(ListenError, match=f"can't listen on {host} port {port}: Address already"):
        Served(Numbers().site(), address=TcpAddress(host, port))


def test_ipv6(numbers: Numbers) -> None:
    with Served(numbers.site(), address=parse_address("[::1]:0")) as served:
        assert served.ask("/-/healthy")[0] == 200


def test_a_unix_socket(numbers: Numbers, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with (
        Served(numbers.site(), address=UnixAddress(path)),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(path)
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as answer:
            assert answer.read().endswith(b"healthy\n")


def test_gzip(numbers: Numbers) -> None:
    for number in range(101):
        Gauge(f"number_{number}", "One of many.", registry=numbers.registry)
    with Served(numbers.site()) as served:
        status, body, headers = served.ask("/numbers", Accept_Encoding="gzip")
        plain = served.ask("/numbers")[1]
    assert (status, headers["Content-Encoding"], headers["Vary"]) == (
        200,
        "gzip",
        "Accept-Encoding",
    )
    assert int(headers["Content-Length"]) == len(body) < len(plain) / 4
    assert gzip.decompress(body) == plain
