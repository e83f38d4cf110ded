# SPDX-License-Identifier: Apache-2.0
"""Marks of huge pages on free memory, in files made like /proc/kpageflags."""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes.preflight import Finding, Verdict, examine
from probes.preflight.free_memory import Marks, look
from tests.probes.kernel.test_btf import FROM_7_1, UNTIL_7_0, kernel
from tests.probes.preflight_host import BTF, KALLSYMS, SYSCTL, btf, kallsyms, machine

FILE = "proc/kpageflags"
BUDDY, HUGE, LRU = 1 << 10, 1 << 17, 1 << 5
STRIDE = 64
BLOCK = 1024
"""Frames in the largest free block."""


def flags(frames: int, others: Mapping[int, int] = {}) -> bytes:
    """Free frames, but for ``others``."""
    return struct.pack(f"{frames}Q", *(others.get(frame, BUDDY) for frame in range(frames)))


def write(folder: Path, content: bytes) -> Path:
    (folder / "kpageflags").write_bytes(content)
    return folder


def test_every_frame_of_struct_pages_is_looked_at(tmp_path: Path) -> None:
    others = {64: BUDDY | HUGE, 128: HUGE, 192: LRU, 960: BUDDY | HUGE, 961: BUDDY | HUGE}
    assert look(write(tmp_path, flags(BLOCK, others)), STRIDE) == Marks(free=13, marked=2)


def test_much_memory_is_looked_at_here_and_there_but_at_no_head_of_a_block(tmp_path: Path) -> None:
    """Of 32 GB: freeing a block clears the mark of its head."""
    block = flags(BLOCK, dict.fromkeys(range(1, BLOCK), BUDDY | HUGE))
    free, marked = look(write(tmp_path, block * (1 << 13)), STRIDE)
    assert free == marked
    assert 60_000 < free <= 1 << 16


def test_a_frame_that_was_just_taken_is_not_counted(tmp_path: Path) -> None:
    """Its flags, which are not read all at once, show both, and a moment later do not."""
    passing = [8 * STRIDE]

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if offset in passing:
            passing.remove(offset)
            return struct.pack("Q", BUDDY | HUGE)
        return os.pread(descriptor, size, offset)

    folder = write(tmp_path, flags(BLOCK, {64: HUGE, 128: BUDDY | HUGE}))
    assert look(folder, STRIDE, pread) == Marks(free=15, marked=1)


@pytest.mark.parametrize("frames", [0, 1, 63, 64, 65])
def test_hardly_any_memory(tmp_path: Path, frames: int) -> None:
    assert look(write(tmp_path, flags(frames)), STRIDE).marked == 0


def found(root: Path, changes: Mapping[str, str | bytes | None]) -> Finding | None:
    """What check says about it."""
    findings = examine(machine(root, changes), root / "dist")
    return next((finding for finding in findings if finding.name == "free memory"), None)


def test_check_says_what_was_looked_at(tmp_path: Path) -> None:
    what = "no trace of the restore bug of Debian's 6.12.115 to .118 on 15 free frames looked at"
    assert found(tmp_path, {FILE: flags(BLOCK)}) == Finding("free memory", Verdict.OK, what)


def test_check_warns_of_marks(tmp_path: Path) -> None:
    finding = found(tmp_path, {FILE: flags(BLOCK, {64: BUDDY | HUGE})})
    assert finding is not None
    assert finding.verdict is Verdict.WARNING
    assert finding.what.startswith("1 of 15 frames looked at bear the mark of a huge page that is ")
    assert finding.fix == "use another kernel, or boot with hugetlb_free_vmemmap=off"


def test_check_warns_of_a_kernel_that_may_leave_marks(tmp_path: Path) -> None:
    mixed = kernel(FROM_7_1)
    for changes in ({BTF: mixed}, {BTF: mixed, FILE: flags(BLOCK)}):
        finding = found(tmp_path, changes)
        assert finding is not None
        assert finding.verdict is Verdict.WARNING
        assert finding.what.startswith("huge pages that are given back may leave marks, on which ")


@pytest.mark.parametrize(
    "btf_of_kernel", [kernel(UNTIL_7_0), kernel(FROM_7_1, (("vmemmap_tails", 1, 1680),))]
)
def test_check_does_not_warn_of_others(tmp_path: Path, btf_of_kernel: bytes) -> None:
    finding = found(tmp_path, {BTF: btf_of_kernel, FILE: flags(BLOCK)})
    assert finding is not None
    assert finding.verdict is Verdict.OK


@pytest.mark.parametrize(
    "changes",
    [
        {},  # not there; nor can others than root open it
        {FILE: flags(BLOCK), KALLSYMS: kallsyms("schedule"), SYSCTL: None},
        {FILE: flags(BLOCK), BTF: None},
        {FILE: flags(BLOCK), BTF: btf(56)},
    ],
)
def test_check_says_nothing_where_nothing_can_be_told(
    tmp_path: Path, changes: Mapping[str, str | bytes | None]
) -> None:
    assert found(tmp_path, changes) is None
