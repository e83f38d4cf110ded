# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: what a golden trace's operations do to the running kernel.

Those of ``probes.operations``, each once and whatever comes of it, of scenarios ``reserve``,
``unreserve`` and ``dissolve``, and ``fail``: see ``tests.kernel.failures``.
"""

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from exporter.verify.hugetlb_files import map_huge_pages
from probes.geometry import parse_size
from probes.operations import parse_operation
from tests.kernel.failures import Turns, write
from tests.kernel.workload import perform, pool_of

_PAGE_FLAGS = Path("/proc/kpageflags")
_SOFT_OFFLINE = Path("/sys/devices/system/memory/soft_offline_page")
_HUGE = 1 << 17  # KPF_HUGE


def _number(size: int, name: str) -> int:
    return int((pool_of(size) / name).read_text())


class Steps:
    """Operations on the running kernel, and what of them lasts."""

    def __init__(self) -> None:
        """Nothing is reserved, and nothing is to fail."""
        self._reserved: dict[int, mmap.mmap] = {}
        self._failing: Turns = ()
        self._verbs: dict[str, Callable[[list[str]], object]] = {
            "grow": lambda words: self._resize(words, 1),
            "shrink": lambda words: self._resize(words, -1),
            "reserve": self._reserve,
            "unreserve": self._unreserve,
            "dissolve": self._dissolve,
            "demote": self._demote,
            "fail": self._fail,
        }

    def perform(self, text: str) -> None:
        """Do one operation. Raises ``OSError``."""
        verb, *words = text.split()
        if verb in self._verbs:
            self._verbs[verb](words)
        else:
            perform(parse_operation(text))

    def _resize(self, words: list[str], sign: int) -> None:
        """Write nr_hugepages once: what it counts without surplus, and some more or less."""
        size, pages = parse_size(words[0]), int(words[1])
        persistent = _number(size, "nr_hugepages") - _number(size, "surplus_hugepages")
        self._write(pool_of(size) / "nr_hugepages", str(persistent + sign * pages))

    def _demote(self, words: list[str]) -> None:
        with suppress(OSError):  # without memory
            self._write(pool_of(parse_size(words[0])) / "demote", words[1])

    def _fail(self, words: list[str]) -> None:
        self._failing = tuple(map(int, words))

    def _write(self, path: Path, text: str) -> None:
        """Write once, and let allocations fail if the operation before this one said so."""
        turns, self._failing = self._failing, ()
        write(path, text, turns)

    def _reserve(self, words: list[str]) -> None:
        """Map pages and touch none."""
        size, pages = parse_size(words[0]), int(words[1])
        (pool_of(size) / "nr_overcommit_hugepages").write_text(str(pages))
        self._reserved[size] = map_huge_pages(size, pages)

    def _unreserve(self, words: list[str]) -> None:
        self._reserved.pop(parse_size(words[0])).close()

    def _dissolve(self, words: list[str]) -> None:
        """Soft-offline a frame of a free huge page: it leaves the pool for good."""
        size = parse_size(words[0])
        _SOFT_OFFLINE.write_text(hex(huge_page(size // mmap.PAGESIZE) * mmap.PAGESIZE))


def huge_page(frames: int) -> int:
    """The first frame of the first huge page of so many frames."""
    last = max(
        int(line.split("-")[1].split()[0], 16)
        for line in Path("/proc/iomem").read_text().splitlines()
        if "System RAM" in line
    )
    with _PAGE_FLAGS.open("rb") as file:
        for pfn in range(0, last // mmap.PAGESIZE, frames):
            flags = os.pread(file.fileno(), 8, pfn * 8)
            if int.from_bytes(flags, "little") & _HUGE:
                return pfn
    raise LookupError(f"no huge page of {frames} frames")
