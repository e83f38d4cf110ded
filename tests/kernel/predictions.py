# SPDX-License-Identifier: Apache-2.0
"""What `hvoscope plan` says that a kernel will account for, worked out from operations.

A part is 2 MB of vmemmap, numbered from 0: 128 MB of memory with 4 KB pages. Splitting gives it a
page table, once and for good. Which parts that are depends on where huge pages lie, so that a plan
gives a least and a most; /proc/kpageflags tells where they lie.

Where the kernel accounts for split tables: up to 6.15 nowhere. From 6.16 on, page tables of the
kernel are counted with all others (nr_page_table_pages of /proc/vmstat, PageTables of
/proc/meminfo), exact only after /proc/sys/vm/stat_refresh was read, and moved by every process
that comes or goes. ``programs.vmemmap_tables`` reads the page table itself, on any kernel.
"""

import struct
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from exporter.savings.forecast import Demand, Saving, savings
from probes.geometry import Geometry
from probes.operations import Operation

KPF_HUGE = 17
"""include/uapi/linux/kernel-page-flags.h: part of a huge page of hugetlbfs."""

_PAGES_PER_LOOK = 512
"""Every huge page has a frame at a multiple of 2 MB."""
_LOOKS_PER_PART = 64


class Predicted(NamedTuple):
    """Frames in the kernel's accounts, net, and page tables that no account shows."""

    frames: int
    tables_least: int
    tables_most: int


def predicted(geometry: Geometry, operations: Iterable[Operation]) -> Predicted:
    """From empty pools and vmemmap never split, to what ``operations`` leave behind.

    Raises ``ValueError`` where a pool shrinks that has pages optimised and not: which go first is
    not known; and for ``overcommit``, which leaves nothing behind but tables.
    """
    pages: dict[tuple[int, bool], int] = {}
    most: dict[int, int] = {}
    on = False
    for operation in operations:
        if operation.verb == "hvo":
            on = operation.on
            continue
        _resize(pages, operation, on)
        for (size, optimised), count in pages.items():
            if optimised:
                most[size] = max(most.get(size, 0), count)
    left = _savings(geometry, {size: n for (size, optimised), n in pages.items() if optimised})
    ever = _savings(geometry, most)
    return Predicted(
        sum(saving.frames_freed for saving in left),
        # Pages of one size may have come back to where another's had been.
        max((saving.page_table_frames for saving in ever), default=0),
        sum(saving.page_table_frames_most for saving in ever),
    )


def _resize(pages: dict[tuple[int, bool], int], operation: Operation, on: bool) -> None:
    size, count = operation.size, operation.pages
    if operation.verb == "grow":
        pages[size, on] = pages.get((size, on), 0) + count
        return
    kinds = [optimised for optimised in (True, False) if pages.get((size, optimised))]
    if operation.verb != "shrink" or len(kinds) != 1:
        raise ValueError(f"{operation}: what it leaves can't be told beforehand")
    pages[size, kinds[0]] -= count


def _savings(geometry: Geometry, pages: dict[int, int]) -> tuple[Saving, ...]:
    return savings(geometry, [Demand(size, count) for size, count in pages.items() if count])


def parts_with_huge_pages(kpageflags: Path = Path("/proc/kpageflags")) -> set[int]:
    """Parts of vmemmap that describe a huge page, of any size and optimised or not; needs root."""
    parts = set()
    with kpageflags.open("rb", buffering=0) as file:
        look = 0
        while word := file.read(8):
            if struct.unpack("=Q", word)[0] >> KPF_HUGE & 1:
                parts.add(look // _LOOKS_PER_PART)
            look += 1
            file.seek(look * _PAGES_PER_LOOK * 8)
    return parts


def new_tables(before: Collection[int], optimised: Collection[int]) -> set[int]:
    """Parts that get a table: those with an optimised page that had none, at boot or since."""
    return set(optimised) - set(before)
