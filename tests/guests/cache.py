# SPDX-License-Identifier: Apache-2.0
"""Where kernels are kept between runs: outside the repository, whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guests.progress import say


def default_root() -> Path:
    """`$HVOSCOPE_CACHE`, else `hvoscope` in the user's cache directory."""
    if own := os.environ.get("HVOSCOPE_CACHE"):
        return Path(own).resolve()
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(users).resolve() / "hvoscope"


def digest(**inputs: object) -> str:
    """A short name for these inputs: equal inputs, in any order, have equal names."""
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Cache:
    """A directory of finished things, each made once even if several processes want it."""

    def __init__(self, root: Path | None = None, say: Callable[[str], None] = say) -> None:
        self._say = say
        self.root = root or default_root()
        self.root.mkdir(parents=True, exist_ok=True)

    def entry(self, name: str, make: Callable[[Path], None]) -> Path:
        """The directory `name`; if it is not there, `make` fills it under another name first."""
        path = self.root / name
        with self.lock(name):
            if not path.exists():
                self._fill(path, make)
        return path

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keeps other processes from what goes under this name."""
        with (self.root / f".lock-{name}").open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say(f"waiting for another process that makes {name}")
                fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _fill(self, path: Path, make: Callable[[Path], None]) -> None:
        prefix = f".part-{path.name}-"
        for left in self.root.glob(f"{prefix}*"):  # of a run that was killed
            shutil.rmtree(left)
        part = Path(tempfile.mkdtemp(prefix=prefix, dir=self.root))
        try:
            make(part)
            part.chmod(0o755)
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
