# SPDX-License-Identifier: Apache-2.0
"""Cache of compiled programs on disk, so that a second start needs neither clang nor headers.

The key is the program's source, the architecture and BCC's version; the source has every offset
that differs between kernels. Cached programs are loaded into the kernel, so a folder that other
users can write to is never used.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from probes.bpf.object_code import ObjectCode

DEFAULT_FOLDER = Path("/var/cache/hvoscope")
SHIPPED_FOLDER = Path("/usr/lib/hvoscope/programs")
"""Where programs are that were compiled elsewhere (``hvoscope compile``)."""

_SUFFIX = ".bpf"
_MAX_FILES = 32
"""Maximum number of files: one for each combination of mode, attach type, stream and kernel."""


class ProgramCache:
    """A folder of compiled programs; with None, a cache that is always empty."""

    def __init__(self, folder: Path | None) -> None:
        """Read and create nothing yet."""
        self._folder = folder

    def get(self, key: str) -> ObjectCode | None:
        """Return the program cached under ``key``; None if it is missing, untrusted or damaged."""
        if self._folder is None:
            return None
        try:
            if not (_is_private(self._folder) and _is_private(self._folder / (key + _SUFFIX))):
                return None
            return ObjectCode.parse((self._folder / (key + _SUFFIX)).read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, key: str, program: ObjectCode) -> str:
        """Cache ``program`` atomically. Return the reason if it can't be cached, else empty."""
        if self._folder is None:
            return "no cache folder is set"
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not _is_private(self._folder):
                return f"{self._folder} is owned or writable by another user"
            self._write(self._folder, key, program)
            self._remove_oldest(self._folder)
        except OSError as error:
            return str(error)
        return ""

    def _write(self, folder: Path, key: str, program: ObjectCode) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(program.dump())
            Path(name).rename(folder / (key + _SUFFIX))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise

    def _remove_oldest(self, folder: Path) -> None:
        cached = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in cached[:-_MAX_FILES]:
            path.unlink()


def shipped(folder: Path | None, key: str) -> ObjectCode | None:
    """Return the program that was compiled elsewhere under ``key``; None if there is none.

    Raises ``ValueError`` if it is damaged or another user could have changed it.
    """
    path = shipped_path(folder, key) if folder else None
    if folder is None or path is None or not path.exists():
        return None
    if not (_is_private(folder) and _is_private(path)):
        raise ValueError(f"{path} is owned or writable by another user: chown root, chmod go-w")
    try:
        return ObjectCode.parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be used ({error}): compile it again") from error


def shipped_path(folder: Path, key: str) -> Path:
    """Path of the program with this key."""
    return folder / (key + _SUFFIX)


def key_of(text: str, machine: str, bcc_version: str = "") -> str:
    """Key of a program: a hash of everything that determines what it does.

    ``bcc_version`` is left out for shipped programs, which any version may have compiled.
    """
    return hashlib.sha256("\0".join((text, machine, bcc_version)).encode()).hexdigest()


def has_programs(folder: Path) -> bool:
    """Whether ``folder`` has cached programs."""
    return any(folder.glob(f"*{_SUFFIX}"))


def _is_private(path: Path) -> bool:
    """Whether only root and this user can change the file or folder."""
    found = path.stat()
    owned = found.st_uid in (0, os.geteuid())
    return owned and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
