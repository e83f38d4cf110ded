# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes.bpf import perf_kprobe
from probes.bpf.misses import of_step, recursion_misses

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
def test_before_6_7_only_the_program_sees_what_is_dropped(
    tmp_path: Path, own: int | None, wanted: int | None
) -> None:
    silent = proc(tmp_path, {12: 0, 14: 0, 16: 0})  # there since 5.12, but not of kprobes
    assert of_step("optimize", KPROBES, own, silent, before_6_7) == wanted
    assert of_step("remap_pte", KPROBES, None, silent, before_6_7) is None


def test_from_6_7_on_entries_are_the_kernels_and_returns_the_programs(tmp_path: Path) -> None:
    links = {11: 3, 13: 509, 15: 7}
    host = proc(tmp_path, {12: 100, 14: 1000, 16: 10})
    assert of_step("optimize", KPROBES, 23, host, links.get) == 3 + 100 + 1000 + 23
    assert of_step("remap_pte", KPROBES, None, host, links.get) == 17


def test_without_the_trampolines_address_returns_are_the_kernels(tmp_path: Path) -> None:
    links = {11: 3, 13: 509}
    host = proc(tmp_path, {12: 0, 14: 0})
    assert of_step("optimize", KPROBES, None, host, links.get) == 512


def test_a_trampolines_misses_are_counted_once(tmp_path: Path) -> None:
    host = proc(tmp_path, {22: 2, 24: 5})
    # The program notices the missing exit at the task's next entry: the same one.
    assert of_step("optimize", TRAMPOLINES, 5, host, before_6_7) == 7


def test_before_5_12_nothing_counts_a_trampolines_misses(tmp_path: Path) -> None:
    assert of_step("optimize", TRAMPOLINES, 5, tmp_path, before_6_7) is None
    assert recursion_misses(tmp_path, 22) is None


def test_a_descriptor_that_is_no_link_has_no_count() -> None:
    read_end, write_end = os.pipe()
    try:
        assert perf_kprobe.missed(read_end) is None
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_kernel_without_kprobes_refuses_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        perf_kprobe.attach(0, "vmemmap_remap_pte", at_return=False, pmu=tmp_path)
