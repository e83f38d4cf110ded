# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: transparent huge pages are split on memory that huge pages gave back.

``python -m tests.guests.split_transparent on|off`` ends in a minute on a kernel in order, and with
HVO off on every one that has transparent huge pages. See ``probes/preflight/free_memory.py``.
"""

import mmap
import sys
from pathlib import Path

from probes.geometry import KIB, MIB
from probes.operations import Operation, parse_operation
from tests.guests.progress import say
from tests.kernel.workload import meminfo_kib, perform, vmstat

SIZE = 2 * MIB
TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def main() -> None:
    """Give pages back, lay transparent ones there, cut holes into them, have the rest freed."""
    TRANSPARENT.write_text("always")
    perform(parse_operation(f"hvo {sys.argv[1]}"))
    pages = meminfo_kib("MemFree") * KIB // SIZE * 3 // 4
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
    say(f"{vmstat()['thp_split_page']} transparent huge pages split")


if __name__ == "__main__":
    main()
