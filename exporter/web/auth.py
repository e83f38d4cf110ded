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


def is_hash(text: str) -> bool:
    """Whether it has the shape of a bcrypt hash: ``$2y$``, a cost from 04 to 31, 53 characters."""
    shape = re.fullmatch(r"\$2[abxy]?\$(\d\d)\$[./A-Za-z0-9]{53}", text, re.ASCII)
    return shape is not None and 4 <= int(shape[1]) <= 31


def _matches(password: bytes, hashed: bytes) -> bool:
    # bcrypt looks at 72 bytes, as every implementation does; this one refuses to be given more.
    return bcrypt.checkpw(password[:72], hashed)


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
    return name.decode("utf-8", errors="replace"), password
