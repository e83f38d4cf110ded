# SPDX-License-Identifier: Apache-2.0
"""Compiled programs kept on disk, so that a second start needs neither clang nor headers.

A program is found again by its text, the architecture and BCC's version: the text has every offset
that differs between kernels. What is in the folder is loaded into the kernel, so a folder that
somebody else may write to is not used at all.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from probes.bpf.object_code import ObjectCode

DEFAULT_FOLDER = Path("/var/cache/hvoscope")

_SUFFIX = ".bpf"
_MOST = 32
"""Files kept: one for each mode, way to attach, stream or none, and kernel."""


class ProgramCache:
    """A folder of compiled programs; None is a cache that never has anything."""

    def __init__(self, folder: Path | None) -> None:
        """Nothing is read or made yet."""
        self._folder = folder

    def get(self, key: str) -> ObjectCode | None:
        """The program kept under ``key``; None when there is none that can be trusted and read."""
        if self._folder is None:
            return None
        try:
            if not (_only_ours(self._folder) and _only_ours(self._folder / (key + _SUFFIX))):
                return None
            return ObjectCode.parse((self._folder / (key + _SUFFIX)).read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, key: str, program: ObjectCode) -> str:
        """Keep ``program``, whole or not at all. Returns why not, empty when it is kept."""
        if self._folder is None:
            return "no folder was given"
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not _only_ours(self._folder):
                return f"{self._folder} belongs to, or can be written by, somebody else"
            self._write(self._folder, key, program)
            self._forget_oldest(self._folder)
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

    def _forget_oldest(self, folder: Path) -> None:
        kept = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-_MOST]:
            path.unlink()


def key_of(text: str, machine: str, bcc_version: str) -> str:
    """Name of a program: whatever could change its bytecode is in it."""
    return hashlib.sha256("\0".join((text, machine, bcc_version)).encode()).hexdigest()


def has_programs(folder: Path) -> bool:
    """Tell whether anything is kept in ``folder``."""
    return any(folder.glob(f"*{_SUFFIX}"))


def _only_ours(path: Path) -> bool:
    """Whether nobody but root and this user can change it."""
    found = path.stat()
    owned = found.st_uid in (0, os.geteuid())
    return owned and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
