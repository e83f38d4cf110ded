# SPDX-License-Identifier: Apache-2.0
"""A loader that ends before it has answered. It gets no request that it could act on."""

import os
import signal
import threading
from pathlib import Path

import pytest

from probes.backend import BackendError
from probes.bpf.handover import Request
from probes.kernel.host import Host
from probes.live.loader_process import LoaderProcess


def ask_after(how: signal.Signals, root: Path) -> str:
    """Start a loader, end it by a signal, and return what the daemon would log."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = set(children.read_text().split())
    host = Host(root / "proc", root / "sys", root / "modules", release="none")
    loader = LoaderProcess(Request.of_checks(host))
    (pid,) = set(children.read_text().split()) - before
    os.kill(int(pid), how)
    os.waitid(os.P_PID, int(pid), os.WEXITED | os.WNOWAIT)
    with pytest.raises(BackendError) as raised:
        loader.ask()
    return str(raised.value)


def test_a_killed_loader_points_to_the_memory_limit(tmp_path: Path) -> None:
    told = ask_after(signal.SIGKILL, tmp_path)
    assert told.startswith("the loader was killed before it attached anything")
    assert told.endswith("raise MemoryMax= of the unit")


def test_another_end_shows_the_status(tmp_path: Path) -> None:
    told = ask_after(signal.SIGTERM, tmp_path)
    assert told.startswith("the loader exited with status -15 before it attached anything: ")
