# SPDX-License-Identifier: Apache-2.0
"""Listen addresses: parsing and formatting."""

from typing import NamedTuple

UNIX_PREFIX = "unix:"


class TcpAddress(NamedTuple):
    """A host name or IP address, and a port; port 0 is any free port.

    A link-local IPv6 address ends with ``%`` and its zone: ``fe80::1%eth0`` (RFC 4007).
    """

    host: str
    port: int

    def url(self, scheme: str) -> str:
        """Return the URL, with an IPv6 host in brackets and its zone as in RFC 6874."""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


class UnixAddress(NamedTuple):
    """The path of a Unix domain socket."""

    path: str

    def url(self, scheme: str) -> str:
        """Return the URL to log; the path is also that of ``curl --unix-socket``."""
        return f"{scheme}+{UNIX_PREFIX}{self.path}"

    def __str__(self) -> str:
        return self.path


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """Parse ``127.0.0.1:10917``, ``[::1]:10917``, ``:10917`` (all addresses) or ``unix:/a/path``.

    Raises ``ValueError`` with the reason.
    """
    if text.startswith(UNIX_PREFIX):
        return _parse_path(text)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdecimal() or (":" in host and not bracketed):
        raise ValueError(
            f"invalid address {text!r} (expected 127.0.0.1:10917, [::1]:10917 or unix:/path)"
        )
    if int(port) > 65535:
        raise ValueError(f"invalid port in {text!r} (expected at most 65535)")
    return TcpAddress(host[1:-1] if bracketed else host or "::", int(port))


def _parse_path(text: str) -> UnixAddress:
    path = text.removeprefix(UNIX_PREFIX)
    if not path.startswith("/"):
        raise ValueError(f"invalid socket path in {text!r} (expected unix:/PATH)")
    if len(path.encode()) > 107 or "\0" in path:  # sun_path of unix(7), less its final zero
        raise ValueError(f"invalid socket path in {text!r} (expected at most 107 bytes, no NUL)")
    return UnixAddress(path)
