# SPDX-License-Identifier: Apache-2.0
"""Pools, switch and overcommit as they were: kept in a file while they differ, and put back.

The file is locked while a run lasts. One that has contents and no lock was left by a run that was
killed, and says what was before that run.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from exporter.verify.fault_injection import PROBABILITY
from probes.kernel.host import Host, has_numa

STATE_FILE = Path("/run/hvoscope-verify.json")
_TRIES = 3

Settings = Mapping[str, int]
"""Numbers in files, by path, in the order in which they are written back."""


class BusyError(Exception):
    """Another run is in progress; the message is one line."""


class LeftoverError(Exception):
    """A run was killed and left what the message says, one line."""


def read_settings(host: Host) -> Settings:
    """Switch, pools of each node, overcommit, fault injection.

    Raises ``OSError`` and ``ValueError``.
    """
    machine, nodes = host.sys / "kernel/mm/hugepages", host.sys / "devices/system/node"
    pools = (
        nodes.glob("node[0-9]*/hugepages/hugepages-*/nr_hugepages")
        if has_numa(host)
        else machine.glob("hugepages-*/nr_hugepages")
    )
    paths = [
        host.proc / "sys/vm/hugetlb_optimize_vmemmap",
        *sorted(pools),
        *sorted(machine.glob("hugepages-*/nr_overcommit_hugepages")),
        host.sys / PROBABILITY,
    ]
    return {str(path): int(path.read_text()) for path in paths if path.exists()}


def put_back(settings: Settings) -> tuple[str, ...]:
    """Write what differs; return what could not be made as it was, one line each."""
    left: tuple[str, ...] = ()
    for attempt in range(_TRIES):
        for name, value in settings.items():
            found = _read(name)
            if found == value:
                continue
            if attempt and found is not None:
                _write(name, found)  # pages that were not restored are surplus: into the pool first
            _write(name, value)
        left = differences(settings)
        if not left:
            break
    return left


def differences(settings: Settings) -> tuple[str, ...]:
    """Which files are not as they were, one line each."""
    return tuple(
        f"{name} is {found if isinstance(found, int) else 'unreadable'}, it was {value}"
        for name, value in settings.items()
        for found in [_read(name)]
        if found != value
    )


def _read(name: str) -> int | None:
    try:
        return int(Path(name).read_text())
    except (OSError, ValueError):
        return None


def _write(name: str, value: int) -> None:
    try:
        Path(name).write_text(str(value))
    except OSError:
        return  # the difference is reported


class StateFile:
    """The file in which a run keeps what was before it."""

    def __init__(self, path: Path = STATE_FILE) -> None:
        """Lock it. Raises ``BusyError``, and ``OSError`` if it can't be written."""
        self._descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        self._path = path
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = self._contents().get("pid", "unknown")
            os.close(self._descriptor)
            raise BusyError(f"another hvoscope verify is running (pid {pid})") from None

    def leftover(self) -> Settings:
        """What was before a run that was killed; empty if there was none."""
        settings = self._contents().get("settings")
        if not isinstance(settings, dict):
            return {}
        return {str(name): int(value) for name, value in settings.items()}

    def save(self, settings: Settings) -> None:
        """Keep it until ``clear``; a killed run leaves it. Raises ``OSError``."""
        self._replace(json.dumps({"pid": os.getpid(), "settings": dict(settings)}))

    def clear(self) -> None:
        """All is as it was. Raises ``OSError``."""
        self._replace("")

    def close(self) -> None:
        """Unlock it."""
        os.close(self._descriptor)

    def _replace(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
        os.fsync(self._descriptor)

    def _contents(self) -> dict[str, object]:
        data = os.pread(self._descriptor, 1 << 20, 0)
        try:
            found = json.loads(data) if data else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
