# SPDX-License-Identifier: Apache-2.0
import pytest

from exporter.web.addresses import Address, TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:10917", TcpAddress("127.0.0.1", 10917)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        (":10917", TcpAddress("::", 10917)),
        ("unix:/run/hvoscope.sock", UnixAddress("/run/hvoscope.sock")),
    ],
)
def test_addresses_are_parsed(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "10917", "host", "host:", "host:x", "host:-1", "::1:80"])
def test_an_invalid_address_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="invalid address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127.0.0.1:65536", "expected at most 65535"),
        ("unix:run/here", "expected unix:/PATH"),
        ("unix:", "expected unix:/PATH"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/a\0b", "no NUL"),
    ],
)
def test_an_invalid_port_or_path_is_rejected(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(text)


def test_urls() -> None:
    assert TcpAddress("127.0.0.1", 1).url("http") == "http://127.0.0.1:1"
    assert TcpAddress("::1", 1).url("https") == "https://[::1]:1"
    assert TcpAddress("fe80::1%eth0", 1).url("http") == "http://[fe80::1%25eth0]:1"
    assert UnixAddress("/run/s").url("http") == "http+unix:/run/s"
