# SPDX-License-Identifier: Apache-2.0
"""The guest's first programs: Debian's static busybox, from a package that is not installed."""

from __future__ import annotations

from pathlib import Path

from tests.guests.apt import Apt, Suite
from tests.guests.cache import Cache

_PACKAGE = "busybox-static"


def provide(cache: Cache) -> Path:
    """Path of the program; any version does, so the one in the cache is never replaced."""
    apt = Apt(cache, Suite("bookworm"))
    tree = cache.entry(_PACKAGE, lambda into: apt.unpack([_PACKAGE], into))
    return next(path for path in (tree / "bin/busybox", tree / "usr/bin/busybox") if path.exists())
