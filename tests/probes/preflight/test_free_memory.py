# SPDX-License-Identifier: Apache-2.0
"""Stale huge page flags of free frames, in files laid out like /proc/kpageflags."""

import errno
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes.preflight import Finding, Verdict, examine
from probes.preflight.free_memory import FlagCounts, sample_flags
from tests.probes.kernel.test_btf import FROM_7_1, UNTIL_7_0, kernel
from tests.probes.preflight_host import BTF, KALLSYMS, SYSCTL, btf, kallsyms, machine

FILE = "proc/kpageflags"
BUDDY, HUGE, LRU = 1 << 10, 1 << 17, 1 << 5
STRIDE = 64
BLOCK = 1024
"""Number of frames in the largest free block."""


def flags(frames: int, others: Mapping[int, int] = {}) -> bytes:
    """Return flags of free frames, with ``others`` replaced."""
    return struct.pack(f"{frames}Q", *(others.get(frame, BUDDY) for frame in range(frames)))


def write(folder: Path, content: bytes) -> Path:
    (folder / "kpageflags").write_bytes(content)
    return folder


def test_one_frame_per_frame_of_struct_pages_is_sampled(tmp_path: Path) -> None:
    others = {64: BUDDY | HUGE, 128: HUGE, 192: LRU, 960: BUDDY | HUGE, 961: BUDDY | HUGE}
    assert sample_flags(write(tmp_path, flags(BLOCK, others)), STRIDE) == FlagCounts(
        free=13, stale=2
    )


def test_samples_of_32_gb_are_limited_and_exclude_block_heads(tmp_path: Path) -> None:
    """Freeing a block clears the flag of its head, so heads are not sampled."""
    block = flags(BLOCK, dict.fromkeys(range(1, BLOCK), BUDDY | HUGE))
    free, stale = sample_flags(write(tmp_path, block * (1 << 13)), STRIDE)
    assert free == stale
    assert 60_000 < free <= 1 << 16


def test_a_frame_allocated_between_two_reads_is_not_counted(tmp_path: Path) -> None:
    """Its flags seem to include both at the first read, but not at the second."""
    transient = [8 * STRIDE]

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if offset in transient:
            transient.remove(offset)
            return struct.pack("Q", BUDDY | HUGE)
        return os.pread(descriptor, size, offset)

    folder = write(tmp_path, flags(BLOCK, {64: HUGE, 128: BUDDY | HUGE}))
    assert sample_flags(folder, STRIDE, pread) == FlagCounts(free=15, stale=1)


def test_samples_end_with_the_last_whole_block_of_memory(tmp_path: Path) -> None:
    """From the second multiple of 64 on, each whole 64 frames of memory add one sample."""
    for frames in range(50, 200):
        counts = sample_flags(write(tmp_path, flags(frames)), STRIDE)
        assert counts == FlagCounts(free=max(frames // 64 - 1, 0), stale=0), frames


def test_reads_are_of_whole_entries(tmp_path: Path) -> None:
    """kpage_read (fs/proc/page.c) fails with EINVAL on anything else than multiples of 8."""

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if size % 8 or offset % 8:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return os.pread(descriptor, size, offset)

    folder = write(tmp_path, flags(BLOCK, {128: BUDDY | HUGE}))
    assert sample_flags(folder, STRIDE, pread) == FlagCounts(free=15, stale=1)


@pytest.mark.parametrize("frames", [0, 1, 63, 64, 65])
def test_very_small_memory_has_no_stale_frames(tmp_path: Path, frames: int) -> None:
    assert sample_flags(write(tmp_path, flags(frames)), STRIDE).stale == 0


FIX = "use another kernel, or boot with hugetlb_free_vmemmap=off"


def found(root: Path, changes: Mapping[str, str | bytes | None]) -> Finding | None:
    """Return the finding about free memory."""
    findings = examine(machine(root, changes), root / "dist")
    return next((finding for finding in findings if finding.name == "free memory"), None)


def test_check_reports_the_number_of_sampled_frames(tmp_path: Path) -> None:
    what = (
        "no trace of restore-leak, the bug of Debian's 6.12.115 to .118 on 15 sampled free frames"
    )
    assert found(tmp_path, {FILE: flags(BLOCK)}) == Finding("free memory", Verdict.OK, what)


def test_check_warns_about_stale_flags(tmp_path: Path) -> None:
    what = (
        "1 of 15 sampled free frames still have the flag of a freed huge page (restore-leak, the "
        "bug of Debian's 6.12.115 to .118): this kernel hangs when it splits a transparent huge "
        "page on one of them"
    )
    warning = Finding("free memory", Verdict.WARNING, what, FIX)
    assert found(tmp_path, {FILE: flags(BLOCK, {64: BUDDY | HUGE})}) == warning


def test_check_warns_about_a_kernel_that_may_leave_stale_flags(tmp_path: Path) -> None:
    mixed = kernel(FROM_7_1)
    what = (
        "this kernel loses optimized huge pages when they are freed (init_on_alloc=1), or leaves "
        "their flag on free frames, on which it then hangs (restore-leak, as in Debian's 6.12.118)"
    )
    for changes in ({BTF: mixed}, {BTF: mixed, FILE: flags(BLOCK)}):
        assert found(tmp_path, changes) == Finding("free memory", Verdict.WARNING, what, FIX)


@pytest.mark.parametrize(
    "btf_of_kernel", [kernel(UNTIL_7_0), kernel(FROM_7_1, (("vmemmap_tails", 1, 1680),))]
)
def test_check_does_not_warn_about_other_kernels(tmp_path: Path, btf_of_kernel: bytes) -> None:
    finding = found(tmp_path, {BTF: btf_of_kernel, FILE: flags(BLOCK)})
    assert finding is not None
    assert finding.verdict is Verdict.OK


@pytest.mark.parametrize(
    "changes",
    [
        {},  # missing, as is the case for users other than root
        {FILE: flags(BLOCK), KALLSYMS: kallsyms("schedule"), SYSCTL: None},
        {FILE: flags(BLOCK), BTF: None},
        {FILE: flags(BLOCK), BTF: btf(56)},
    ],
)
def test_check_reports_nothing_if_flags_or_struct_page_are_unknown(
    tmp_path: Path, changes: Mapping[str, str | bytes | None]
) -> None:
    assert found(tmp_path, changes) is None
