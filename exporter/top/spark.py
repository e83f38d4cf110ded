# SPDX-License-Identifier: Apache-2.0
"""A line of numbers as a line of little bars."""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.:-=+*#"


def sparkline(numbers: Sequence[float | None], width: int, *, ascii_only: bool = False) -> str:
    """The last ``width`` of ``numbers``, the newest to the right; a space where one is missing.

    The lowest bar is 0, or the least of them if that is below 0; the highest is the most.
    """
    bars = _ASCII_BARS if ascii_only else _BARS
    shown = list(numbers)[-width:] if width > 0 else []
    known = [number for number in shown if number is not None]
    if not known:
        return ""
    low, high = min(0, *known), max(0, *known)
    step = (high - low) / (len(bars) - 1) or 1
    return "".join(
        " " if number is None else bars[round((number - low) / step)] for number in shown
    ).rjust(width)
