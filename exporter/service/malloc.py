# SPDX-License-Identifier: Apache-2.0
"""One malloc arena for all threads: glibc gives each its own, which grows and is not given back."""

import ctypes

_M_ARENA_MAX = -8
"""malloc.h of glibc; other C libraries have no mallopt."""


def use_one_arena() -> bool:
    """Make threads that start from now on share one arena; False where that can't be had."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1
