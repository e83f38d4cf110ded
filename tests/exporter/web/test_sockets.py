# SPDX-License-Identifier: Apache-2.0
"""Listening sockets: several, stale, in use, and passed by systemd."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from exporter.web import sockets
from exporter.web.addresses import TcpAddress, UnixAddress, parse_address
from exporter.web.sockets import ListenError

LOOPBACK = TcpAddress("127.0.0.1", 0)


@contextmanager
def listening(*addresses: TcpAddress | UnixAddress) -> Iterator[list[socket.socket]]:
    listeners = sockets.listen(addresses)
    try:
        yield listeners
    finally:
        sockets.close(listeners)


def test_listen_on_all_addresses_or_none(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(LOOPBACK) as (taken,):
        busy = sockets.address_of(taken)
        with pytest.raises(ListenError, match="Address already in use"):
            sockets.listen([UnixAddress(str(path)), busy])
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(path))


def test_all_addresses_include_ipv4_and_ipv6() -> None:
    with listening(TcpAddress("::", 0)) as (listener,):
        _, port = listener.getsockname()[:2]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), 30).close()


def link_local() -> tuple[str, str, int]:
    """Return a link-local address of this machine with its interface's name and index."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, index, _, scope, _, name = line.split()
        if scope == "20":  # IPV6_ADDR_LINKLOCAL
            return str(IPv6Address(int(digits, 16))), name, int(index, 16)
    pytest.skip("no interface has a link-local address")


def test_a_link_local_address_with_its_zone() -> None:
    host, name, index = link_local()
    for zone in (name, str(index)):
        with listening(parse_address(f"[{host}%{zone}]:0")) as (listener,):
            address = sockets.address_of(listener)
            assert isinstance(address, TcpAddress)
            assert address.host == f"{host}%{name}"
            assert address.url("http") == f"http://[{host}%25{name}]:{address.port}"
            socket.create_connection((address.host, address.port), 30).close()


def test_a_link_local_address_needs_the_right_zone() -> None:
    host, _, _ = link_local()
    with pytest.raises(ListenError, match=r"can.t listen on .*%nowhere port 1: \S"):
        sockets.listen([parse_address(f"[{host}%nowhere]:1")])
    with pytest.raises(ListenError, match="port 0: Cannot assign requested address"):
        sockets.listen([parse_address(f"[{host}%lo]:0")])


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(ListenError, match=r"can.t listen on no\.such\.host\.invalid port 1: "):
        sockets.listen([TcpAddress("no.such.host.invalid", 1)])


def test_the_socket_of_a_killed_exporter_is_replaced(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "socket"))
    with listening(address):
        pass
    assert Path(address.path).is_socket()
    with listening(address):
        with pytest.raises(ListenError, match="socket: Address already in use"):
            sockets.listen([address])
        sockets.remove_path(address)
    assert not Path(address.path).exists()
    sockets.remove_path(address)


def test_a_file_that_is_not_a_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ListenError, match="Address already in use"):
        sockets.listen([UnixAddress(str(path))])
    assert path.read_text() == "precious"


def passed_on(script: str, fd: int | None, **environ: str) -> str:
    """Return the output of ``script`` when systemd passes ``fd`` as descriptor 3."""
    prelude = f"""
import os, sys
if {fd is not None}:
    os.dup2(int(sys.argv[1]), 3)
environ = {environ!r}
if environ.get("LISTEN_PID") == "mine":
    environ["LISTEN_PID"] = str(os.getpid())
from exporter.web import sockets
"""
    ran = subprocess.run(
        [sys.executable, "-c", prelude + script, str(fd)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        pass_fds=() if fd is None else (fd,),
        cwd=Path(__file__).parents[3],
    )
    return ran.stdout + ran.stderr


SHOW = """
try:
    (listener,) = sockets.from_systemd(environ, os.getpid())
    print(listener.getsockname()[1], os.get_inheritable(3), environ)
except sockets.ListenError as error:
    print(error)
"""


def test_a_socket_passed_by_systemd() -> None:
    with listening(LOOPBACK) as (listener,):
        port = listener.getsockname()[1]
        reported = passed_on(SHOW, listener.fileno(), LISTEN_PID="mine", LISTEN_FDS="1")
    assert reported == f"{port} False {{}}\n"


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": "mine", "LISTEN_FDS": "0"}],
)
def test_no_socket_from_systemd(environ: dict[str, str]) -> None:
    reported = passed_on(SHOW, None, **environ)
    assert reported == "systemd passed no socket: start the service through its .socket unit\n"


def test_an_invalid_descriptor_from_systemd_is_an_error() -> None:
    with socket.socket() as unconnected:
        reported = passed_on(SHOW, unconnected.fileno(), LISTEN_PID="mine", LISTEN_FDS="1")
        assert reported == "descriptor 3 from systemd is not a listening socket\n"
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        reported = passed_on(SHOW, null, LISTEN_PID="mine", LISTEN_FDS="1")
        assert "descriptor 3 from systemd is not a socket: " in reported
    finally:
        os.close(null)
