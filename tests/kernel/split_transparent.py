# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: transparent huge pages are split on memory that huge pages gave back.

``python -m tests.kernel.split_transparent on|off`` ends in a minute on a kernel in order, and with
HVO off on every one that has transparent huge pages. See ``probes/preflight/free_memory.py``.
"""

import mmap
import sys
from pathlib import Path

from probes.geometry import KIB, MIB
from probes.operations import Operation, parse_operation
from tests.kernel.progress import say
from tests.kernel.workload import perform

SIZE = 2 * MIB
TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def main() -> None:
    """Give pages back, lay transparent ones there, cut holes into them, have the rest freed."""
    TRANSPARENT.write_text("always")
    perform(parse_operation(f"hvo {sys.argv[1]}"))
    pages = free_bytes() // SIZE * 3 // 4
    perform(Operation("grow", SIZE, pages))
    perform(Operation("shrink", SIZE, pages))
    say(f"{pages} pages of 2 MB given back, HVO {sys.argv[1]}")
    length = pages * SIZE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, length, flags=flags) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, length, SIZE):
            memory[at] = 1
            memory.madvise(mmap.MADV_DONTNEED, at + 4 * KIB, SIZE // 2)
        # Memory that is short, or this, is what has the kernel split what has holes.
        Path("/proc/sys/vm/drop_caches").write_text("2")
    say(f"{split()} transparent huge pages split")


def free_bytes() -> int:
    """Memory that nobody uses."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemFree"].split()[0]) * KIB


def split() -> int:
    """How many the kernel has split since it booted."""
    lines = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return int(lines["thp_split_page"])


if __name__ == "__main__":
    main()
