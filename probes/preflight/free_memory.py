# SPDX-License-Identifier: Apache-2.0
"""Check for free frames that still have the flag of a huge page (KPF_HUGE).

HVO restores a frame of struct pages as a copy of the shared frame. Before Linux 7.1 the shared
frame begins with the huge page's head, and the kernel resets the copied head (reset_struct_pages).
Since 7.1 the shared frame contains no head, so no reset is needed. Debian's 6.12.118 shares a frame
with a head but does not reset the copies: its disassembled vmemmap_restore_pte is that of
"mm/hugetlb_vmemmap: fix incorrect vmemmap restore in rollback" (May 2026), made for 7.1.

What follows depends on init_on_alloc (docs/kernel-bugs). With 1, Debian's default, the kernel
checks each page that is freed, finds it bad ("Bad page state") and loses the whole huge page. With
0, one of 64 free frames keeps the flag until its struct page is rewritten. The kernel allocates no
1 GB page from such memory, because it seems to contain huge pages. If a transparent huge page on
such memory is split, its parts are freed as huge pages, and free_huge_folio hangs.
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
"""os.pread, or a replacement in tests."""

_BUG = "restore-leak, the bug of Debian's 6.12.115 to .118"

_BUDDY = 1 << 10
_STALE = _BUDDY | 1 << 17
"""KPF_BUDDY and KPF_HUGE together (include/uapi/linux/kernel-page-flags.h)."""

_MAX_SAMPLES = 1 << 16
"""Maximum number of frames to read, which takes a fraction of a second."""


class FlagCounts(NamedTuple):
    """Number of sampled frames that were free, and of those that still had the huge page flag."""

    free: int
    stale: int


def free_memory(facts: Facts) -> Finding | None:
    """Whether free frames have the flag of a huge page; None if it can't be determined."""
    size = facts.struct_page_size
    if not facts.can_optimize or not isinstance(size, int):
        return None
    counts = _counts(facts.host.proc, PAGESIZE // size)
    if counts and counts.stale:
        return _warning(
            f"{counts.stale:,} of {counts.free:,} sampled free frames still have the flag of a"
            f" freed huge page ({_BUG}): this kernel hangs when it splits a transparent huge page"
            " on one of them"
        )
    if facts.may_leave_stale_heads:
        return _warning(
            "this kernel loses optimized huge pages when they are freed (init_on_alloc=1), or"
            " leaves their flag on free frames, on which it then hangs (restore-leak, as in"
            " Debian's 6.12.118)"
        )
    if not counts:
        return None
    what = f"no trace of {_BUG} on {counts.free:,} sampled free frames"
    return Finding("free memory", Verdict.OK, what)


def _warning(what: str) -> Finding:
    fix = f"use another kernel, or boot with {BOOT_PARAMETER}=off"
    return Finding("free memory", Verdict.WARNING, what, fix)


def _counts(proc: Path, stride: int) -> FlagCounts | None:
    try:
        return sample_flags(proc, stride)
    except OSError:
        return None


def sample_flags(proc: Path, stride: int, pread: Pread = os.pread) -> FlagCounts:
    """Read the flags of at most every ``stride``-th frame.

    ``stride`` is the number of frames whose struct pages share a frame. Raises ``OSError`` if
    /proc/kpageflags can't be read (root only; CONFIG_PROC_PAGE_MONITOR).
    """
    with (proc / "kpageflags").open("rb", buffering=0) as file:
        memory = _Memory(file.fileno(), pread)
        samples = {frame: memory.flags(frame) for frame in _frames(memory.end(), stride)}
        stale = [frame for frame, flags in samples.items() if _is_stale(flags)]
        return FlagCounts(
            free=sum(bool(flags & _BUDDY) for flags in samples.values()),
            # The kernel reads flags one by one, so a frame that is just being allocated can seem to
            # have both. A second read rules that out.
            stale=sum(_is_stale(memory.flags(frame)) for frame in stale),
        )


def _frames(end: int, stride: int) -> range:
    """Frames to sample, excluding the first of a free block, whose flag is cleared on free."""
    samples = end // stride
    every = max(-(-samples // _MAX_SAMPLES), 1)
    return range(stride, samples * stride, every * stride)


def _is_stale(flags: int) -> bool:
    return flags & _STALE == _STALE


@dataclass(frozen=True)
class _Memory:
    """Flags of all frames, from the opened /proc/kpageflags (fs/proc/page.c)."""

    descriptor: int
    pread: Pread

    def flags(self, frame: int) -> int:
        return int.from_bytes(self.pread(self.descriptor, 8, frame * 8), "little")

    def end(self) -> int:
        """First frame number after all memory."""
        low, high = 0, 1 << 52
        while low < high:
            middle = (low + high) // 2
            if self.pread(self.descriptor, 8, middle * 8):
                low = middle + 1
            else:
                high = middle
        return low
