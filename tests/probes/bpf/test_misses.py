# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes.bpf import perf_kprobe
from probes.bpf.misses import missed_hits, recursion_misses

KPROBES = {
    "link:optimize:kprobe:optimize_0_enter": 11,
    "program:optimize:kprobe:optimize_0_enter": 12,
    "link:optimize:kprobe:optimize_0_return": 13,
    "program:optimize:kprobe:optimize_0_return": 14,
    "link:remap_pte:kprobe:remap_pte_0_enter": 15,
    "program:remap_pte:kprobe:remap_pte_0_enter": 16,
}
TRAMPOLINES = {
    "link:optimize:fentry:optimize_0_enter": 21,
    "program:optimize:fentry:optimize_0_enter": 22,
    "program:optimize:fentry:optimize_0_return": 24,
}


def proc(root: Path, counts: Mapping[int, int]) -> Path:
    folder = root / "self" / "fdinfo"
    folder.mkdir(parents=True)
    for descriptor, count in counts.items():
        text = f"pos:\t0\nprog_type:\t2\nrecursion_misses:\t{count}\n"
        (folder / str(descriptor)).write_text(text)
    return root


def before_6_7(_: int) -> None:
    return None


@pytest.mark.parametrize(("own", "wanted"), [(23, 23), (None, None)])
def test_before_6_7_only_returns_seen_by_the_program_are_counted(
    tmp_path: Path, own: int | None, wanted: int | None
) -> None:
    without_misses = proc(
        tmp_path, {12: 0, 14: 0, 16: 0}
    )  # since 5.12, but not counted for kprobes
    assert missed_hits("optimize", KPROBES, own, without_misses, before_6_7) == wanted
    assert missed_hits("remap_pte", KPROBES, None, without_misses, before_6_7) is None


def test_since_6_7_the_kernel_counts_entries_and_the_program_returns(tmp_path: Path) -> None:
    links = {11: 3, 13: 509, 15: 7}
    host = proc(tmp_path, {12: 100, 14: 1000, 16: 10})
    assert missed_hits("optimize", KPROBES, 23, host, links.get) == 3 + 100 + 1000 + 23
    assert missed_hits("remap_pte", KPROBES, None, host, links.get) == 17


def test_without_the_trampoline_address_the_kernel_counts_returns(tmp_path: Path) -> None:
    links = {11: 3, 13: 509}
    host = proc(tmp_path, {12: 0, 14: 0})
    assert missed_hits("optimize", KPROBES, None, host, links.get) == 512


def test_misses_of_a_trampoline_are_counted_once(tmp_path: Path) -> None:
    host = proc(tmp_path, {22: 2, 24: 5})
    # The program detects the missing exit at the task's next entry: it is the same miss.
    assert missed_hits("optimize", TRAMPOLINES, 5, host, before_6_7) == 7


def test_before_5_12_misses_of_a_trampoline_are_unknown(tmp_path: Path) -> None:
    assert missed_hits("optimize", TRAMPOLINES, 5, tmp_path, before_6_7) is None
    assert recursion_misses(tmp_path, 22) is None


def test_missed_is_none_for_a_descriptor_that_is_not_a_link() -> None:
    read_end, write_end = os.pipe()
    try:
        assert perf_kprobe.missed(read_end) is None
    finally:
        os.close(read_end)
        os.close(write_end)


def test_attach_without_a_kprobe_pmu_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        perf_kprobe.attach(0, "vmemmap_remap_pte", at_return=False, pmu=tmp_path)
