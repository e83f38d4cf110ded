# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: a write to a file of the kernel in which chosen allocations fail.

By the kernel's own fault injection (CONFIG_FAIL_PAGE_ALLOC), or by tests/guests/fail_frames.c;
either way for this task alone, and not huge pages: they may come from high memory (__GFP_HIGHMEM).
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guests.fail_frames import FOLDER

_INJECTION = Path("/sys/kernel/debug/fail_page_alloc")
_MARK = Path("/proc/thread-self/make-it-fail")
_SETTINGS = {
    "task-filter": "Y",
    "min-order": "0",
    "ignore-gfp-wait": "N",
    "ignore-gfp-highmem": "Y",
    "interval": "1",
    "verbose": "0",
}
_PARAMETERS = Path("/sys/module/fail_frames/parameters")
_ALLOCATORS = ("__alloc_frozen_pages_noprof", "__alloc_pages_noprof", "__alloc_pages")
"""The innermost first: 6.14, 6.10, 5.13."""


Turns = tuple[int, ...]
"""So many allocations of single frames pass, so many fail, and so on; all later ones pass."""


def write(path: Path, text: str, turns: Turns = ()) -> None:
    """Write once. Raises ``OSError``, also for what comes of the failures."""
    target = os.open(path, os.O_WRONLY)  # not later: an open allocates
    try:
        if not turns:
            os.write(target, text.encode())
            return
        with (_injected if _INJECTION.exists() else _by_module)(turns):
            os.write(target, text.encode())
    finally:
        os.close(target)


@contextmanager
def _injected(turns: Turns) -> Iterator[None]:
    passing, failing = turns
    for name, value in _SETTINGS.items():
        (_INJECTION / name).write_text(value)
    (_INJECTION / "times").write_text(str(failing))
    (_INJECTION / "space").write_text(str(passing + 1))  # the last of it is not given
    mark = os.open(_MARK, os.O_WRONLY)
    (_INJECTION / "probability").write_text("100")
    os.write(mark, b"1")
    try:
        yield
    finally:
        os.write(mark, b"0")
        os.close(mark)
        (_INJECTION / "probability").write_text("0")
        _expect_none_left(_INJECTION / "times", turns)


@contextmanager
def _by_module(turns: Turns) -> Iterator[None]:
    if not _PARAMETERS.exists():
        _load_module()
    (_PARAMETERS / "turns").write_text(",".join(map(str, turns)))
    pid = os.open(_PARAMETERS / "pid", os.O_WRONLY)
    os.write(pid, str(threading.get_native_id()).encode())
    try:
        yield
    finally:
        os.write(pid, b"0")
        os.close(pid)
        _expect_none_left(_PARAMETERS / "turns", turns)


def _load_module() -> None:
    for symbol in _ALLOCATORS:
        command = ["insmod", str(FOLDER / "fail_frames.ko"), f"symbol={symbol}"]
        if not (done := subprocess.run(command, check=False)).returncode:
            return
    done.check_returncode()


def _expect_none_left(counts: Path, turns: Turns) -> None:
    if any(map(int, (left := counts.read_text()).split(","))):
        raise RuntimeError(f"{turns}: {left.strip()} allocations were never asked for")
