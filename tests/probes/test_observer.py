# SPDX-License-Identifier: Apache-2.0
"""Consistent reads of counters and memmap, one read per source, and isolation of failures."""

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path, PosixPath
from typing import Any, ClassVar

from probes.baseline import Baseline
from probes.counters import Counters, PageKey, Slot
from probes.drift import COUNTERS_CHANGING
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState
from probes.observation import (
    DRIFT,
    NOT_ASKED,
    PARTS,
    PROBES,
    Absent,
    Census,
    Failed,
    Memmap,
    Observation,
    Pools,
    Probes,
    Status,
    known,
)
from probes.observer import Observer
from tests.probes.trees import make_host

READY = Status(True)
BASELINE = Baseline({PageKey(9, 0): 37}, {9: 7})


def freed(frames: int) -> Probes:
    key = PageKey(9, 0)
    slots = (Slot("frames_freed"), Slot("frames_allocated", "head"))
    counted = dict.fromkeys(((slot, key) for slot in slots), 0) | {(slots[0], key): frames}
    counted |= {(Slot("hugepages_optimized"), key): frames // 7}
    counted |= {(Slot("hugepages_restored"), key): 0}
    return Probes(Counters(counted | {(Slot("frames_allocated", "restore"), key): 0}), READY)


class Kernel:
    """Probes and HugeTLB state controlled by a test."""

    def __init__(self) -> None:
        self.freed = 0
        self.memmap = 110
        self.during: Callable[[], None] = lambda: None
        """Called while the memmap is read."""
        self.reads: Counter[str] = Counter()

    def copy(self) -> int:
        self.reads["copy"] += 1
        return self.freed

    def decode(self, raw: int) -> Probes:
        self.reads["decode"] += 1
        return freed(raw)

    def pools(self) -> Pools:
        self.reads["pools"] += 1
        return Pools()

    def switch(self) -> bool | Absent:
        return True

    def memmap_pages(self) -> Mapping[str, int]:
        self.reads["memmap"] += 1
        pages = {"boot": 100, "runtime": self.memmap - 100}
        self.during()
        return pages

    def saved_bytes(self, memmap_pages: Mapping[str, int]) -> int | Absent:
        return (110 - sum(memmap_pages.values())) * 4096

    def kernel_bugs(self) -> tuple[str, ...]:
        return ("restore-leak",)

    def grow(self) -> None:
        self.freed += 7
        self.memmap -= 7


def observer(kernel: Kernel) -> Observer[int]:
    seconds = count()
    return Observer(
        kernel.copy,
        kernel.decode,
        kernel,
        lambda: BASELINE,
        clock=lambda: 509,
        timer=lambda: float(next(seconds)),
    )


def test_observe_returns_all_parts_with_their_read_times() -> None:
    kernel = Kernel()
    watcher = observer(kernel)
    watcher.observe((DRIFT,))
    kernel.grow()
    seen = watcher.observe()
    census = Census({PageKey(9, 0): 38}, {9: 7})
    assert seen == Observation(
        509,
        freed(7),
        Pools(),
        True,
        census,
        Memmap({"boot": 100, "runtime": 3}, 7 * 4096),
        0,
        ("restore-leak",),
    )
    assert seen.seconds == dict.fromkeys(PARTS, 1.0)


def test_on_an_idle_kernel_each_source_is_read_once() -> None:
    kernel = Kernel()
    observer(kernel).observe()
    # Copying the counters is cheap; they are decoded once.
    assert kernel.reads == {"copy": 2, "memmap": 1, "decode": 1, "pools": 1}


def test_counters_and_memmap_are_read_at_the_same_moment() -> None:
    kernel = Kernel()
    watcher = observer(kernel)
    watcher.observe((DRIFT,))

    def grow_twice() -> None:
        if kernel.freed < 14:
            kernel.grow()

    kernel.during = grow_twice
    seen = watcher.observe()
    assert (seen.counters.total("frames_freed"), seen.drift) == (14, 0)
    assert known(seen.memmap) == Memmap({"boot": 100, "runtime": -4}, 14 * 4096)


def test_constantly_changing_counters_make_only_drift_absent() -> None:
    kernel = Kernel()
    kernel.during = kernel.grow
    seen = observer(kernel).observe()
    assert seen.drift == COUNTERS_CHANGING
    assert seen.status == READY
    assert isinstance(seen.memmap, Memmap)


def test_only_the_requested_parts_are_read() -> None:
    kernel = Kernel()
    seen = observer(kernel).observe((PROBES,))
    assert (seen.pools, seen.switch, seen.memmap, seen.drift) == (NOT_ASKED,) * 4
    assert set(seen.seconds) == {PROBES}
    assert kernel.reads["pools"] == 0
    assert kernel.reads["memmap"] == 0


def broken(kernel: Kernel, name: str) -> Kernel:
    def fail(*_: Any) -> Any:
        raise OSError("gone")

    setattr(kernel, name, fail)
    return kernel


def test_a_failed_part_does_not_affect_the_others() -> None:
    gone = Failed("OSError: gone")
    for name, parts in {
        "copy": {"probes", "census", "drift"},
        "decode": {"probes", "census", "drift"},
        "pools": {"pools"},
        "switch": {"switch"},
        "memmap_pages": {"memmap", "drift"},
        "saved_bytes": {"memmap"},
    }.items():
        seen = observer(broken(Kernel(), name)).observe()
        assert {part for part in PARTS if getattr(seen, part) == gone} == parts, name
    assert observer(broken(Kernel(), "copy")).observe().status == Status(
        False, problem="the probes can't be read: OSError: gone"
    )


class Counting(PosixPath):
    """A path that counts the reads of files and folders below it."""

    reads: ClassVar[Counter[str]] = Counter()

    def open(self, *args: Any, **kwargs: Any) -> Any:
        self.reads[self.name] += 1
        return super().open(*args, **kwargs)


def test_an_observation_reads_each_file_of_the_kernel_once(tmp_path: Path) -> None:
    pool = "hugepages/hugepages-2048kB"
    files = {
        "proc/vmstat": "nr_memmap_pages 10\nnr_memmap_boot_pages 100\n",
        "proc/zoneinfo": "Node 0, zone   Normal\n        spanned  32768\n        present  32768\n",
        "proc/sys/vm/hugetlb_optimize_vmemmap": "1\n",
        "sys/devices/system/node/online": "0\n",
        f"sys/devices/system/node/node0/{pool}/nr_hugepages": "23\n",
        f"sys/devices/system/node/node0/{pool}/free_hugepages": "5\n",
        f"sys/kernel/mm/{pool}/resv_hugepages": "0\n",
    }
    made = make_host(tmp_path, files)
    host = Host(proc=Counting(made.proc), sys=Counting(made.sys), release=made.release)
    Counting.reads.clear()
    kernel = Kernel()
    seen = Observer(kernel.copy, kernel.decode, KernelState(host), lambda: BASELINE).observe()
    assert not [part for part in PARTS if isinstance(getattr(seen, part), Failed)]
    assert {Path(name).name for name in files} <= set(Counting.reads)
    assert set(Counting.reads.values()) == {1}
