# SPDX-License-Identifier: Apache-2.0
"""Negotiation of the exposition format: RFC 9110, section 12.5.1."""

import socket

import pytest

from exporter.web.formats import OPENMETRICS, TEXT, choose
from exporter.web.weighted import Alternative, alternatives
from tests.exporter.web.site import Numbers, Served

OM = "application/openmetrics-text"
PROMETHEUS_2 = (
    f"{OM};version=1.0.0;q=0.5,{OM};version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    f"{OM};version=1.0.0;escaping=allow-utf-8;q=0.6,{OM};version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

WANT_OPENMETRICS = (
    *(PROMETHEUS_2, PROMETHEUS_3, OM, OM.upper(), f"{OM}; version=1.0.0; charset=UTF-8"),
    *(f'{OM}; version="1.0.0"', f'{OM}; VERSION="1.\\0.0"; charset="utf-8"', f"{OM};q=0.001"),
    f"{OM};escaping=values;version=1.0.0",
    # weights
    f"text/plain;q=0.3, {OM};q=0.9",
    f"text/plain;q=0.999,{OM};q=1.000",
    f"{OM};q=0.9;version=1.0.0, text/plain;q=0.8",  # the weight before a parameter
    f"{OM};Q=0.9, text/plain;q=0.8",
    "application/*, text/plain;q=0.5",
    "*/*, text/plain;q=0.5",
    "text/*;q=0, */*;q=0.1",
    # named with the same weight as text
    f"text/plain, {OM}",
    f"text/plain;version=0.0.4, */*;q=0.8, {OM}; version=1.0.0; charset=utf-8",
    f"{OM}, */*",
    # variants of the grammar
    f" , ,\t{OM} ;version=1.0.0 ; ;q=0.5;, ,",
    f'text/plain;note=", {OM};q=0";q=0.1, {OM};q=0.2',
    f"*; q=.2, {OM}",  # only the invalid element is ignored
    f'text/plain;q=0.5, {OM};q=0.7, text/html;level="1',
)

WANT_TEXT = (
    *("", " ", ",", "*/*", "text/*", "text/plain", "text/plain; charset=utf-8", BROWSER),
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    "*/*;q=0.8,text/plain; charset=utf-8; version=0.0.4",
    'text/plain; version="0.0.4"',
    # unsupported OpenMetrics
    *(f"{OM}; version=0.0.1", f'{OM}; version="2.0.0"', f"{OM}; version=foo", f"{OM};version="),
    *(f"{OM}; charset=latin1", f"{OM};profile=x", f"{OM}x", f"x{OM}", "application/openmetrics"),
    f"{OM}; version=1.0.0; version=1.0.0",
    # weights
    f"{OM};q=0, text/plain;q=0.001",
    f"{OM};q=0.000",
    f"text/plain;q=0.9, {OM};q=0.1",
    f"{OM};version=1.0.0;q=0, {OM}",  # the more specific range decides
    "application/*;q=0.4, */*;q=0.5",
    *(
        f"{OM};q={bad}"
        for bad in ("1.5", "-1", "abc", "", "0.1234", ".5", "1e0", '"1"', "nan", "٣")
    ),
    # neither is acceptable: text rather than 406
    *(
        "application/json",
        "text/plain;q=0",
        "*/*;q=0",
        f"*/*;q=0, {OM};q=0",
        "text/plain;version=9",
    ),
    # no Accept at all
    *(
        '"',
        f'"{OM}"',
        f'{OM};a="',
        f"{OM};a=b=c",
        f"{OM} version=1.0.0",
        f"{OM};;=",
        "\xe4",
        "a/b/c",
    ),
)


@pytest.mark.parametrize("accept", WANT_OPENMETRICS)
def test_openmetrics_is_preferred(accept: str) -> None:
    assert choose(accept) is OPENMETRICS


@pytest.mark.parametrize("accept", WANT_TEXT)
def test_text_is_preferred(accept: str) -> None:
    assert choose(accept) is TEXT


def test_elements_are_parsed_whole() -> None:
    header = 'A/B ; X="c,\\"d;q=0"; y=Z;q=0.25 , gzip'
    assert list(alternatives(header)) == [
        Alternative("a/b", {"x": 'c,"d;q=0', "y": "Z"}, 0.25),
        Alternative("gzip", {}, 1.0),
    ]


@pytest.mark.parametrize(
    "header",
    [
        "a" + ";  " * 5000 + '"',
        'a;b="' + "\\" * 16_000,
        '"' * 16_000,
        ("a;" + " " * 10) * 1300 + "=",
    ],
)
def test_hostile_headers_are_parsed_in_linear_time(header: str) -> None:
    assert choose(header) is TEXT  # the runner's timeout is the assertion


def answered(served: Served, *headers: str) -> tuple[str, str]:
    """Status and content type of a GET with these header lines."""
    lines = "".join(f"{header}\r\n" for header in headers)
    request = f"GET /numbers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n"
    with socket.create_connection(served.where, 30) as client:
        client.sendall(request.encode("latin-1"))
        head = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")[0].decode()
    status, *fields = head.split("\r\n")
    return status, dict(field.split(": ", 1) for field in fields)["Content-Type"]


def test_through_the_server() -> None:
    with Served(Numbers().site()) as served:
        for accept in (*WANT_OPENMETRICS, *(a for a in WANT_TEXT if "٣" not in a)):
            expected = (OPENMETRICS if accept in WANT_OPENMETRICS else TEXT).content_type
            assert answered(served, f"Accept: {accept}") == ("HTTP/1.1 200 OK", expected), accept


def test_accept_lines_are_one_list() -> None:
    with Served(Numbers().site()) as served:
        lines = "Accept: text/plain;q=0.5", f"accept: {OM};q=0.7"
        assert answered(served, *lines)[1] == OPENMETRICS.content_type
        assert answered(served)[1] == TEXT.content_type


def test_vary_names_the_negotiated_headers() -> None:
    with Served(Numbers().site()) as served:
        assert served.ask("/numbers")[2].get_all("Vary") == ["Accept"]
