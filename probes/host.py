# SPDX-License-Identifier: Apache-2.0
"""The machine as files: roots of /proc, /sys and /lib/modules. Tests point it at their own."""

import os
from dataclasses import dataclass, field
from pathlib import Path


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
        return int(text, base)
    except ValueError:
        raise ValueError(f"{path} is no number: {text[:40]!r}") from None


def parse_id_list(text: str) -> tuple[int, ...]:
    """Read the kernel's list format (``0-3,8``), as in /sys/devices/system/*/possible.

    Raises ``ValueError`` when it is not one.
    """
    ids: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        ids.extend(range(int(first), int(last if dash else first) + 1))
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
