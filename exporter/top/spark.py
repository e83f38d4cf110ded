# SPDX-License-Identifier: Apache-2.0
"""Sparklines."""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.:-=+*#"


def sparkline(numbers: Sequence[float | None], width: int, *, ascii_only: bool = False) -> str:
    """Draw the last ``width`` numbers as bars, the newest to the right; None is a space.

    The lowest bar is 0, or the minimum if that is below 0; the highest bar is the maximum.
    """
    bars = _ASCII_BARS if ascii_only else _BARS
    shown = list(numbers)[-width:] if width > 0 else []
    known = [number for number in shown if number is not None]
    if not known:
        return ""
    low, high = min(0, *known), max(0, *known)
    unit = (high - low) / (len(bars) - 1) or 1
    return "".join(
        " " if number is None else bars[round((number - low) / unit)] for number in shown
    ).rjust(width)
