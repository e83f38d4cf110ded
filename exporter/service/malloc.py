# SPDX-License-Identifier: Apache-2.0
"""One malloc arena for all threads: glibc's per-thread arenas grow and are never returned."""

import ctypes

_M_ARENA_MAX = -8
"""malloc.h of glibc; other C libraries have no mallopt."""


def use_one_arena() -> bool:
    """Make threads started from now on share one arena; return False if libc can't do that."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1
