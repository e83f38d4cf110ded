# SPDX-License-Identifier: Apache-2.0
"""Format numbers for people, in a given width. An unknown value is ``-``, never 0."""

from datetime import datetime

from probes.counters import BUCKETS_NS
from probes.geometry import GIB, KIB, MIB

UNKNOWN = "-"
_BINARY = ((1024 * GIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))
_DECIMAL = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_NS = ((10**9, "s"), (10**6, "ms"), (10**3, "us"))


def memory(size: float | None) -> str:
    """Format bytes with three digits: ``2.67 GiB``, ``28 KiB``, ``-1 KiB``, ``12 B``."""
    if size is None:
        return UNKNOWN
    for unit, name in _BINARY:
        if abs(size) >= unit:
            return f"{_three_digits(size / unit)} {name}"
    return f"{size:.0f} B"


def count(number: int | None, width: int = 12) -> str:
    """Format an integer, exactly if it fits into ``width``, otherwise as ``12.3M``."""
    if number is None:
        return UNKNOWN
    exact = str(number)
    return exact if len(exact) <= width else _short(number)


def rate(per_second: float | None, width: int = 8) -> str:
    """Format a rate per second: ``0`` (exactly), ``0.33``, ``23.5``, ``4094``, ``1.2M``."""
    if per_second is None:
        return UNKNOWN
    if 0 < per_second < 0.01:
        return "<0.01"
    plain = f"{per_second:.0f}" if per_second >= 100 else _three_digits(per_second)
    return plain if len(plain) <= width else _short(per_second)


def duration(ns: float | None) -> str:
    """Format ns as ``12.3us``, ``4.1ms``, ``1s``; infinite means above the last bucket."""
    if ns is None:
        return UNKNOWN
    if ns == float("inf"):
        return f">{duration(BUCKETS_NS[-1])}"
    for unit, name in _NS:
        if ns >= unit:
            return f"{_three_digits(ns / unit)}{name}"
    return f"{ns:.0f}ns"


def local_time(ns: int) -> datetime:
    """Return the local time, to the microsecond, from ns since 1970."""
    seconds, rest = divmod(ns, 10**9)
    return datetime.fromtimestamp(seconds).astimezone().replace(microsecond=rest // 1000)


def _short(number: float) -> str:
    for unit, name in _DECIMAL:
        if abs(number) >= unit:
            return f"{_three_digits(number / unit)}{name}"
    return _three_digits(number)


def _three_digits(number: float) -> str:
    """Format with three digits, four from 1000 to 1023; without trailing zeros."""
    if abs(number) >= 100:
        return f"{number:.0f}"
    text = f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"
    return text.rstrip("0").rstrip(".")
