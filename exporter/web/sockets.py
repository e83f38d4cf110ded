# SPDX-License-Identifier: Apache-2.0
"""Listening sockets: bound to addresses, or passed by systemd."""

import contextlib
import socket
import stat
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from exporter.web.addresses import Address, TcpAddress, UnixAddress

BACKLOG = 256
"""Maximum number of connections that wait in the kernel to be accepted."""

_FIRST_PASSED_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)


class ListenError(Exception):
    """A listening socket can't be created; the message is one line with address and reason."""


def listen(addresses: Sequence[Address]) -> list[socket.socket]:
    """Listen on all addresses, or on none. Raises ``ListenError``."""
    sockets: list[socket.socket] = []
    for address in addresses:
        try:
            sockets.append(_listen_on(address))
        except OSError as error:
            close(sockets)
            # create_server appends "(while attempting ...)" to the reason.
            reason = (error.strerror or str(error)).partition(" (while")[0]
            raise ListenError(f"can't listen on {address}: {reason}") from error
    return sockets


def from_systemd(environ: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """Take over the listening sockets that systemd passed: sd_listen_fds(3).

    Raises ``ListenError`` if there is none, or one that is not listening.
    """
    mine = environ.get("LISTEN_PID") == str(pid)
    count = environ.get("LISTEN_FDS", "") if mine else ""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)  # children must not inherit them
    if not count.isdecimal() or not int(count):
        raise ListenError("systemd passed no socket: start the service through its .socket unit")
    return [_passed(fd) for fd in range(_FIRST_PASSED_FD, _FIRST_PASSED_FD + int(count))]


def address_of(listener: socket.socket) -> Address:
    """Return the address of a listening socket, with its actual port."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return UnixAddress(name)
    host, port, *scope = name
    zone = scope[-1] if scope else 0
    return TcpAddress(f"{host}%{_interface(zone)}" if zone else host, port)


def close(listeners: Sequence[socket.socket]) -> None:
    """Close listening sockets."""
    for listener in listeners:
        listener.close()


def remove_path(address: Address) -> None:
    """Remove the file of a Unix socket, if it exists."""
    if isinstance(address, UnixAddress):
        with contextlib.suppress(OSError):
            Path(address.path).unlink()


def _listen_on(address: Address) -> socket.socket:
    if isinstance(address, UnixAddress):
        return _listen_on_path(address.path)
    every = address.host == "::"
    dual = every and socket.has_dualstack_ipv6()
    host = "0.0.0.0" if every and not dual else address.host  # noqa: S104  the user asked for it
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = found[0]
    # The whole tuple: an IPv6 address includes flow information and scope.
    return socket.create_server(where, family=family, backlog=BACKLOG, dualstack_ipv6=dual)


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # the interface is gone; its index is a valid zone, too
        return str(index)


def _listen_on_path(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_if_dead(path)
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_if_dead(path: str) -> None:
    """Remove a socket file that a killed exporter left behind, and nothing else."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()


def _passed(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ListenError(f"descriptor {fd} from systemd is not a listening socket")
    except OSError as error:
        raise ListenError(f"descriptor {fd} from systemd is not a socket: {error}") from None
    listener.set_inheritable(False)
    return listener
