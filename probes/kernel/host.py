# SPDX-License-Identifier: Apache-2.0
"""A machine's files: roots of /proc, /sys and /lib/modules, and parsers of small files."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from string import digits, hexdigits

OS_RELEASE = Path("/etc/os-release")

_MAX_IDS = 1 << 16
"""Limit for CPU and node ids: above any kernel's NR_CPUS and MAX_NUMNODES."""

_DIGITS = {10: frozenset(digits), 16: frozenset(hexdigits)}


@dataclass(frozen=True)
class Host:
    """Roots of the files to read, the kernel's release and the architecture."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    modules: Path = Path("/lib/modules")
    release: str = field(default_factory=lambda: os.uname().release)
    machine: str = field(default_factory=lambda: os.uname().machine)
    boot: Path = Path("/boot")
    os_release: Path = OS_RELEASE


def read_or_error(path: Path) -> str | OSError:
    """Return the contents of a small file, stripped, or the error.

    For callers that distinguish a missing file from an unreadable one (``is_missing``).
    """
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        return error


def is_missing(found: object) -> bool:
    """Whether ``found`` is the error of a missing file, not of an unreadable one."""
    return isinstance(found, FileNotFoundError | NotADirectoryError)


def read_text(path: Path) -> str | None:
    """Return the contents of a small file, stripped; None if it can't be read."""
    text = read_or_error(path)
    return None if isinstance(text, OSError) else text


def read_number(path: Path, base: int = 10) -> int | None:
    """Read a small file that contains one number; None if it can't be read.

    Raises ``ValueError`` with the path if the contents are not a number.
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        return parse_digits(text.removeprefix("0x") if base == 16 else text, base)
    except ValueError:
        raise ValueError(f"{path}: not a number: {text[:40]!r}") from None


def read_count(path: Path, bits: int = 64) -> int | None:
    """Read a small file that contains one counter (``parse_count``); None if it can't be read.

    Raises ``ValueError`` with the path if the contents are not a counter.
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        return parse_count(text, bits)
    except ValueError:
        raise ValueError(f"{path}: not a number: {text[:40]!r}") from None


def parse_count(text: str, bits: int = 64) -> int:
    """Parse a kernel counter of ``bits`` bits that is printed unsigned and may be negative.

    HugePages_Rsvd of 18446744073709551615 is -1: the kernel subtracted one too many. Raises
    ``ValueError`` if the text is not a 64-bit number.
    """
    value = parse_digits(text)
    if value >> 64:
        raise ValueError(f"not a 64-bit counter: {text[:40]!r}")
    if value >> 63:
        return value - (1 << 64)
    # An unsigned int is zero-extended before it is printed as unsigned long.
    return value - (1 << bits) if bits < 64 and value >> (bits - 1) == 1 else value


def parse_digits(text: str, base: int = 10) -> int:
    """Parse a number of base 10 or 16 that consists of ASCII digits only, as the kernel prints it.

    Stricter than ``int``, which accepts signs, underscores, prefixes and non-ASCII digits. Raises
    ``ValueError``.
    """
    if not text or not set(text) <= _DIGITS[base]:
        raise ValueError(f"not a number: {text[:40]!r}")
    return int(text, base)


def parse_id_list(text: str) -> tuple[int, ...]:
    """Parse the kernel's list format (``0-3,8``), as in /sys/devices/system/*/possible.

    Raises ``ValueError`` if the text is not a list.
    """
    ids: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        begin, end = parse_digits(first), parse_digits(last if dash else first)
        if not begin <= end < _MAX_IDS:
            raise ValueError(f"not a range of ids: {part[:40]!r}")
        ids.extend(range(begin, end + 1))
    return tuple(ids)


def possible_nodes(host: Host) -> tuple[int, ...]:
    """NUMA nodes that may exist; (0,) on a kernel without NUMA.

    If the list can't be read, the nodes that have a folder are returned. Raises ``ValueError`` or
    ``OSError``.
    """
    return _nodes(host, "possible") or (0,)


def online_nodes(host: Host) -> tuple[int, ...]:
    """NUMA nodes that are online; falls back and raises as ``possible_nodes`` does."""
    return _nodes(host, "online")


def has_numa(host: Host) -> bool:
    """Whether the kernel has NUMA (drivers/base/node.c), even with one node. Raises ``OSError``."""
    return (host.sys / "devices/system/node").is_dir()


def _nodes(host: Host, which: str) -> tuple[int, ...]:
    if not has_numa(host):
        return (0,)
    folder = host.sys / "devices/system/node"
    text = read_text(folder / which)
    if text is None:
        return _node_folders(folder)
    try:
        return parse_id_list(text)
    except ValueError as error:
        raise ValueError(f"{folder / which}: {error}") from None


def _node_folders(folder: Path) -> tuple[int, ...]:
    names = [entry.name.removeprefix("node") for entry in folder.iterdir()]
    return tuple(sorted(int(name) for name in names if name.isascii() and name.isdecimal()))


def possible_cpus(host: Host) -> tuple[int, ...]:
    """CPUs that may exist. Raises ``ValueError`` if the list is missing or malformed."""
    return parse_id_list(read_text(host.sys / "devices/system/cpu/possible") or "")
