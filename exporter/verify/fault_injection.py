# SPDX-License-Identifier: Apache-2.0
"""Let this task's page allocations fail, and no one else's: the kernel's fault injection.

Documentation/fault-injection: CONFIG_FAIL_PAGE_ALLOC, CONFIG_FAULT_INJECTION_DEBUG_FS. A restore
without memory can't be had in another way that leaves the rest of a machine alone: the kernel
reclaims what others have before it gives up.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from exporter.verify.machine import ImpossibleError
from probes.kernel.host import Host

_FOLDER = "kernel/debug/fail_page_alloc"
PROBABILITY = f"{_FOLDER}/probability"
"""Below /sys; 0 switches fault injection off, whatever the other files say."""

_SETTINGS: Mapping[str, str] = {
    "task-filter": "Y",
    "min-order": "0",
    "ignore-gfp-wait": "N",
    # Page faults of the task itself are served.
    "ignore-gfp-highmem": "Y",
    "interval": "1",
    "space": "0",
    "times": "-1",
    "verbose": "0",
}
_TRIES = 10


class AllocationFailures:
    """Fault injection of ``host``."""

    def __init__(self, host: Host) -> None:
        """Nothing is read or written before it is asked for."""
        self._folder = host.sys / _FOLDER
        self._probability = host.sys / PROBABILITY
        self._mark = host.proc / "thread-self/make-it-fail"

    def problem(self) -> str:
        """Why allocations can't be made to fail, one line; empty if they can."""
        try:
            if int(self._probability.read_text()):
                return f"fault injection is in use ({self._probability} is not 0)"
            for path in (self._mark, *(self._folder / name for name in _SETTINGS)):
                path.stat()
        except PermissionError as error:
            return f"{error.filename} can't be read: run as root"
        except (OSError, ValueError):
            return (
                f"allocations can't be made to fail: {self._folder} is missing "
                "(CONFIG_FAIL_PAGE_ALLOC, CONFIG_FAULT_INJECTION_DEBUG_FS, debugfs)"
            )
        return ""

    def write(self, path: Path, text: str) -> None:
        """Write to a file of the kernel, which gets no page for it. Raises ``ImpossibleError``."""
        with self._switched_on():
            # Both are open before: an open allocates.
            target = os.open(path, os.O_WRONLY)
            mark = os.open(self._mark, os.O_WRONLY)
            try:
                _write(target, mark, text.encode())
            except OSError as error:
                raise ImpossibleError(f"{path}: {error.strerror}") from error
            finally:
                os.close(mark)
                os.close(target)

    @contextmanager
    def _switched_on(self) -> Iterator[None]:
        before = {name: (self._folder / name).read_text() for name in _SETTINGS}
        try:
            for name, value in _SETTINGS.items():
                (self._folder / name).write_text(value)
            self._probability.write_text("100")
            yield
        finally:
            self._probability.write_text("0")
            for name, value in before.items():
                (self._folder / name).write_text(value.strip())


def _write(target: int, mark: int, data: bytes) -> None:
    """Once more if the kernel had no memory even to begin."""
    for left in reversed(range(_TRIES)):
        os.write(mark, b"1")
        try:
            os.write(target, data)
        except OSError:
            if not left:
                raise
        else:
            return
        finally:
            os.write(mark, b"0")
