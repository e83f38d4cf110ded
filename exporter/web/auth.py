# SPDX-License-Identifier: Apache-2.0
"""Basic authentication (RFC 7617) with bcrypt hashes."""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping

import bcrypt

from exporter.web.workers import Workers

_REMEMBERED = 100
"""Passwords that were right; one user with one password takes one place."""

_LINE = 16
"""Passwords that wait to be hashed. One at a time is: hashing is slow by design."""


class Users:
    """Who may come in. A password that was right once costs no second bcrypt."""

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        """``hashes``: bcrypt by name. Without any, everyone may come in."""
        self._hashes = hashes
        self._key = os.urandom(32)
        self._right: dict[bytes, None] = {}
        self._hashing = Workers(threads=1, jobs=_LINE)

    async def allow(self, authorization: str) -> bool:
        """Whether the header's name and password are right.

        Raises ``BusyError`` when too many are being tried.
        """
        if not self._hashes:
            return True
        name, password = _credentials(authorization)
        known = self._hashes.get(name)
        # Nobody's password is hashed like somebody's, so that time does not tell who exists.
        expected = next(iter(self._hashes.values())) if known is None else known
        # Remembered as a keyed hash: the process holds no password.
        tried = hmac.digest(self._key, b"\0".join((expected, password)), hashlib.sha256)
        if known is not None and tried in self._right:
            return True
        matches = await self._hashing.run(lambda: _matches(password, expected))
        if not matches or known is None:
            return False
        if len(self._right) >= _REMEMBERED:
            self._right.pop(next(iter(self._right)))
        self._right[tried] = None
        return True


_SHAPE = re.compile(r"(?P<prefix>\$2[abxy]?\$)(?P<cost>\d\d)\$(?P<salt>.{22})(?P<hash>.{31})", re.A)
_DIGITS = re.compile(r"[./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
"""31 digits of 6 bits for 23 bytes: the last digit has four bits of them, and then zeros."""

_LEAST_COST = 4
MOST_COST = 20
"""Of this cost, to try one password takes minutes, and one is tried at a time."""
SLOW_COST = 15
"""From here on, it takes seconds."""


def cost_of(text: str) -> int:
    """The cost of a bcrypt hash that can be used. Raises ``ValueError`` with the reason.

    The library itself decides about prefix and salt, by hashing with them at the least cost: which
    it takes differs between its releases.
    """
    shape = _SHAPE.fullmatch(text)
    if not shape or not _DIGITS.fullmatch(shape["hash"]):
        raise ValueError("is no bcrypt hash")
    cost = int(shape["cost"])
    if not _LEAST_COST <= cost <= MOST_COST:
        raise ValueError(f"is a bcrypt hash of cost {cost}: use {_LEAST_COST} to {MOST_COST}")
    start = f"{shape['prefix']}{_LEAST_COST:02}${shape['salt']}".encode()
    try:
        usable = bcrypt.hashpw(b"", start).startswith(start)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"is a {shape['prefix']} hash that this bcrypt does not take")
    return cost


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        # bcrypt looks at 72 bytes, as every implementation does; this one refuses more.
        return bcrypt.checkpw(password[:72], hashed)
    except ValueError:  # before bcrypt 4: a password with a zero byte
        return False


def _credentials(authorization: str) -> tuple[str, bytes]:
    """Name and password; what is no basic authentication gives a name that nobody has."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return "", b""
    name, _, password = decoded.partition(b":")
    try:
        return name.decode(), password
    except UnicodeDecodeError:
        return "", b""
