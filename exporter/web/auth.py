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

_MAX_CACHED = 100
"""Maximum number of cached correct passwords, one per user and password."""

_MAX_PENDING = 16
"""Maximum number of passwords being verified; one at a time is hashed, slowly by design."""


class Users:
    """The users that may authenticate; correct passwords are cached to avoid repeated bcrypt."""

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        """``hashes``: bcrypt hashes by user name; if empty, authentication is off."""
        self._hashes = hashes
        self._key = os.urandom(32)
        self._verified: dict[bytes, None] = {}
        self._hashing = Workers(threads=1, jobs=_MAX_PENDING)

    async def allow(self, authorization: str) -> bool:
        """Tell whether the header's user name and password are correct.

        Raises ``BusyError`` if too many passwords are being verified.
        """
        if not self._hashes:
            return True
        name, password = _credentials(authorization)
        known = self._hashes.get(name)
        # Hash even for unknown users, so that timing does not reveal which users exist.
        expected = next(iter(self._hashes.values())) if known is None else known
        # The cache holds keyed hashes: no password stays in memory.
        tried = hmac.digest(self._key, b"\0".join((expected, password)), hashlib.sha256)
        if known is not None and tried in self._verified:
            return True
        matches = await self._hashing.run(lambda: _matches(password, expected))
        if not matches or known is None:
            return False
        if len(self._verified) >= _MAX_CACHED:
            self._verified.pop(next(iter(self._verified)))
        self._verified[tried] = None
        return True


_FORMAT = re.compile(
    r"(?P<prefix>\$2[abxy]?\$)(?P<cost>\d\d)\$(?P<salt>.{22})(?P<hash>.{31})", re.A
)
_DIGITS = re.compile(r"[./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
"""31 digits of 6 bits for 23 bytes; the two low bits of the last digit are zero."""

_MIN_COST = 4
MAX_COST = 20
"""Verifying a password of this cost takes minutes, and passwords are verified one at a time."""
SLOW_COST = 15
"""From this cost on, verifying a password takes seconds."""


def cost_of(text: str) -> int:
    """Return the cost of a usable bcrypt hash. Raises ``ValueError`` with the reason.

    The library itself checks prefix and salt, by hashing with them at the minimum cost: its
    releases differ in what they accept.
    """
    parts = _FORMAT.fullmatch(text)
    if not parts or not _DIGITS.fullmatch(parts["hash"]):
        raise ValueError("is not a bcrypt hash")
    cost = int(parts["cost"])
    if not _MIN_COST <= cost <= MAX_COST:
        raise ValueError(f"is a bcrypt hash of cost {cost} (expected {_MIN_COST} to {MAX_COST})")
    start = f"{parts['prefix']}{_MIN_COST:02}${parts['salt']}".encode()
    try:
        usable = bcrypt.hashpw(b"", start).startswith(start)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"is a {parts['prefix']} hash, which this bcrypt library does not accept")
    return cost


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        # bcrypt uses only the first 72 bytes; this library rejects more.
        return bcrypt.checkpw(password[:72], hashed)
    except ValueError:  # before bcrypt 4: a password with a NUL byte
        return False


def _credentials(authorization: str) -> tuple[str, bytes]:
    """Return user name and password; both empty if the header is not basic authentication.

    No user has an empty name.
    """
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
