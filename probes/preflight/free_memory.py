# SPDX-License-Identifier: Apache-2.0
"""Whether memory that huge pages gave back is still marked as theirs.

A restored frame of struct pages begins as a copy of the frame that all of a huge page's shared, and
that began with the page's head. Kernels before 7.1 then set right what the head left there
(reset_struct_pages); from 7.1 on, what is shared has no head in it, and nothing needs to be set
right. Debian's 6.12.118 shares a head and sets nothing right: disassembled, vmemmap_restore_pte is
that of "mm/hugetlb_vmemmap: fix incorrect vmemmap restore in rollback" (May 2026), made for 7.1.
So one of 64 frames stays marked until something else is written there. No 1 GB page is made of such
memory again, since it seems to have huge pages in it, and where a transparent huge page lies on it
and is split, its parts are freed as huge pages: free_huge_folio never comes back.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple

from probes.preflight.facts import BOOT_PARAMETER, Facts
from probes.preflight.finding import Finding, Verdict

Pread = Callable[[int, int, int], bytes]
"""os.pread, or what a test has in its place."""

_BUG = "the restore bug of Debian's 6.12.115 to .118"

_BUDDY = 1 << 10
_MARKED = _BUDDY | 1 << 17
"""KPF_BUDDY, and KPF_HUGE with it, of include/uapi/linux/kernel-page-flags.h."""

_MOST_LOOKS = 1 << 16
"""A fraction of a second. With more memory they are spread over it."""


class Marks(NamedTuple):
    """Frames that were free when they were looked at, and those of them that are marked."""

    free: int
    marked: int


def free_memory(facts: Facts) -> Finding | None:
    """Whether free frames bear the mark of a huge page; None where nothing can be told."""
    size = facts.struct_page_size
    if not facts.can_optimise or not isinstance(size, int):
        return None
    seen = _marks(facts.host.proc, PAGESIZE // size)
    if seen and seen.marked:
        return _danger(
            f"{seen.marked:,} of {seen.free:,} frames looked at bear the mark of a huge page that"
            f" is gone ({_BUG}): this kernel hangs where it splits a transparent huge page that"
            " lies there"
        )
    if facts.may_leave_heads:
        return _danger(
            "huge pages that are given back may leave marks, on which this kernel then hangs, as "
            "Debian's 6.12.118 does"
        )
    if not seen:
        return None
    what = f"no trace of {_BUG} on {seen.free:,} free frames looked at"
    return Finding("free memory", Verdict.OK, what)


def _danger(what: str) -> Finding:
    fix = f"use another kernel, or boot with {BOOT_PARAMETER}=off"
    return Finding("free memory", Verdict.WARNING, what, fix)


def _marks(proc: Path, stride: int) -> Marks | None:
    try:
        return look(proc, stride)
    except OSError:
        return None


def look(proc: Path, stride: int, pread: Pread = os.pread) -> Marks:
    """Look at frames, one of ``stride`` or fewer: so many have their struct pages in one frame.

    Raises ``OSError`` where /proc/kpageflags can't be read (root only; CONFIG_PROC_PAGE_MONITOR).
    """
    with (proc / "kpageflags").open("rb", buffering=0) as file:
        memory = _Memory(file.fileno(), pread)
        seen = {frame: memory.flags(frame) for frame in _frames(memory.end(), stride)}
        marked = [frame for frame, flags in seen.items() if _is_marked(flags)]
        return Marks(
            free=sum(bool(flags & _BUDDY) for flags in seen.values()),
            # Flags are not read all at once: a frame may have been taken in between. Not twice.
            marked=sum(_is_marked(memory.flags(frame)) for frame in marked),
        )


def _frames(end: int, stride: int) -> range:
    """Frames to look at. Not the first of a free block: freeing it has cleared its mark."""
    places = end // stride
    every = max(-(-places // _MOST_LOOKS), 1)
    return range(stride, places * stride, every * stride)


def _is_marked(flags: int) -> bool:
    return flags & _MARKED == _MARKED


@dataclass(frozen=True)
class _Memory:
    """All frames, by /proc/kpageflags (fs/proc/page.c), which is open."""

    descriptor: int
    pread: Pread

    def flags(self, frame: int) -> int:
        return int.from_bytes(self.pread(self.descriptor, 8, frame * 8), "little")

    def end(self) -> int:
        """The first frame number beyond all memory."""
        low, high = 0, 1 << 52
        while low < high:
            middle = (low + high) // 2
            if self.pread(self.descriptor, 8, middle * 8):
                low = middle + 1
            else:
                high = middle
        return low
