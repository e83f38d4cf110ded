# SPDX-License-Identifier: Apache-2.0
"""One heap for all threads: glibc gives each its own arena, which grows and is not given back."""

import ctypes

_M_ARENA_MAX = -8
"""malloc.h of glibc; other C libraries have no mallopt."""


def share() -> bool:
    """Have every thread that starts from now on use the one heap; False where that can't be had."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1
