# SPDX-License-Identifier: Apache-2.0
"""Writes the "newc" cpio archives that the kernel unpacks as its first root file system."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """A regular file in the archive; its parent directories come by themselves."""

    path: str
    data: bytes
    mode: int = 0o644


def archive(entries: Iterable[Entry]) -> bytes:
    """The whole archive, padded so that another one can follow it."""
    entries = list(entries)
    parts = [_record(path, b"", stat.S_IFDIR | 0o755) for path in _parents(entries)]
    parts += [_record(e.path.lstrip("/"), e.data, stat.S_IFREG | e.mode) for e in entries]
    parts.append(_record(_TRAILER, b"", 0))
    return _pad(b"".join(parts), 512)


def _parents(entries: Iterable[Entry]) -> list[str]:
    """Every directory the entries need, outer ones first."""
    found = {
        str(parent)
        for entry in entries
        for parent in PurePosixPath(entry.path.lstrip("/")).parents
        if str(parent) != "."
    }
    return sorted(found)


def _record(name: str, data: bytes, mode: int) -> bytes:
    raw = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device and rdevice numbers, name length, checksum
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    return _pad(header + raw, 4) + _pad(data, 4)


def _pad(data: bytes, to: int) -> bytes:
    return data + b"\0" * (-len(data) % to)
