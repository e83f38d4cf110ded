# SPDX-License-Identifier: Apache-2.0
"""Many numbers at once: PTEs and event records of a run of pages differ by a constant.

A run is worked out as one long number whose 64-bit digits are the values, so that Python makes
one object for all of them. Measured for 512 addresses: 11 ns each, against 60 ns with
``array("Q", range(...))``. numpy would be as fast, but it adds 17 MB to a daemon that needs 30 MB
and may have 40.
"""

from functools import lru_cache

WORD = 8
"""Bytes of a digit."""


def progression(first: int, step: int, count: int) -> bytes:
    """Return ``first``, ``first + step``, ... as ``count`` 64-bit words, little endian.

    ``step`` may be 0 or negative. All values must fit into 64 bits; ``OverflowError`` says that
    the first or the last does not.
    """
    if not (0 <= first < 1 << 64 and 0 <= first + (count - 1) * step < 1 << 64):
        raise OverflowError(f"{count} words from {first} by {step} do not fit into 64 bits")
    return (first * _ones(count) + _stairs(step, count)).to_bytes(count * WORD, "little")


@lru_cache(maxsize=512)
def _ones(count: int) -> int:
    """The number with the digits 1, 1, 1, ..."""
    return int.from_bytes((1).to_bytes(WORD, "little") * count, "little")


@lru_cache(maxsize=512)
def _stairs(step: int, count: int) -> int:
    """The number with the digits 0, step, 2 * step, ..., the lowest digit first."""
    if step != 1:
        return step * _stairs(1, count)
    return int.from_bytes(b"".join(i.to_bytes(WORD, "little") for i in range(count)), "little")
