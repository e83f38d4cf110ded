# SPDX-License-Identifier: Apache-2.0
"""Where to listen: how it is written, and how it is shown."""

from typing import NamedTuple

UNIX_PREFIX = "unix:"


class TcpAddress(NamedTuple):
    """A host, by name or number, and a port; port 0 is any free one.

    A link-local IPv6 address has its zone behind a ``%``: ``fe80::1%eth0`` (RFC 4007).
    """

    host: str
    port: int

    def url(self, scheme: str) -> str:
        """For people: with brackets around an IPv6 host, and its zone as in RFC 6874."""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


class UnixAddress(NamedTuple):
    """A socket in the file system."""

    path: str

    def url(self, scheme: str) -> str:
        """For people, and for ``curl --unix-socket``."""
        return f"{scheme}+{UNIX_PREFIX}{self.path}"

    def __str__(self) -> str:
        return self.path


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """Read ``127.0.0.1:10917``, ``[::1]:10917``, ``:10917`` (every address) or ``unix:/a/path``.

    Raises ``ValueError`` with the reason.
    """
    if text.startswith(UNIX_PREFIX):
        return _parse_path(text)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdecimal() or (":" in host and not bracketed):
        raise ValueError(
            f"{text!r} is no HOST:PORT (write it like 127.0.0.1:10917, [::1]:10917 or unix:/path)"
        )
    if int(port) > 65535:
        raise ValueError(f"{text!r}: ports end at 65535")
    return TcpAddress(host[1:-1] if bracketed else host or "::", int(port))


def _parse_path(text: str) -> UnixAddress:
    path = text.removeprefix(UNIX_PREFIX)
    if not path.startswith("/"):
        raise ValueError(f"{text!r}: the socket's path must start with /")
    if len(path.encode()) > 107 or "\0" in path:  # sun_path of unix(7), less its final zero
        raise ValueError(f"{text!r}: a socket's path has at most 107 bytes, none of them zero")
    return UnixAddress(path)
