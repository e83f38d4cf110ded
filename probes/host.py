# SPDX-License-Identifier: Apache-2.0
"""The machine as files: roots of /proc, /sys and /lib/modules. Tests point it at their own."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from string import digits, hexdigits

_MOST_IDS = 1 << 16
"""Of CPUs or nodes: beyond any kernel's NR_CPUS and MAX_NUMNODES."""

_DIGITS = {10: frozenset(digits), 16: frozenset(hexdigits)}


@dataclass(frozen=True)
class Host:
    """Roots of the files that readers look at, the kernel's release and the machine's kind."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    modules: Path = Path("/lib/modules")
    release: str = field(default_factory=lambda: os.uname().release)
    machine: str = field(default_factory=lambda: os.uname().machine)
    boot: Path = Path("/boot")


def read_text(path: Path) -> str | None:
    """Contents of a small file, stripped; None when it can't be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def read_number(path: Path, base: int = 10) -> int | None:
    """The number that is all of a small file; None when it can't be read.

    Raises ``ValueError``, with the file's name, when it is something else.
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        return parse_digits(text.removeprefix("0x") if base == 16 else text, base)
    except ValueError:
        raise ValueError(f"{path} is no number: {text[:40]!r}") from None


def parse_digits(text: str, base: int = 10) -> int:
    """A number of base 10 or 16 as the kernel writes counts and addresses: nothing but digits.

    ``int`` takes signs, underscores, prefixes and other scripts' digits too. Raises ``ValueError``.
    """
    if not text or not set(text) <= _DIGITS[base]:
        raise ValueError(f"not a number: {text[:40]!r}")
    return int(text, base)


def parse_id_list(text: str) -> tuple[int, ...]:
    """Read the kernel's list format (``0-3,8``), as in /sys/devices/system/*/possible.

    Raises ``ValueError`` when it is not one.
    """
    ids: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        begin, end = parse_digits(first), parse_digits(last if dash else first)
        if not begin <= end < _MOST_IDS:
            raise ValueError(f"not a range of ids: {part[:40]!r}")
        ids.extend(range(begin, end + 1))
    return tuple(ids)


def possible_nodes(host: Host) -> tuple[int, ...]:
    """NUMA nodes that may ever exist; (0,) on a kernel without NUMA."""
    text = read_text(host.sys / "devices/system/node/possible")
    return parse_id_list(text) if text else (0,)


def online_nodes(host: Host) -> tuple[int, ...]:
    """NUMA nodes that are there now; (0,) on a kernel without NUMA."""
    text = read_text(host.sys / "devices/system/node/online")
    return parse_id_list(text) if text else (0,)


def possible_cpus(host: Host) -> tuple[int, ...]:
    """CPUs that may ever exist. Raises ``ValueError`` where the kernel does not say."""
    return parse_id_list(read_text(host.sys / "devices/system/cpu/possible") or "")
