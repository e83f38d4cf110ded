# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from probes.accounting import Drift, Pool
from probes.counters import Counters, PageKey, Slot


@dataclass
class Kernel:
    """Counters and memmap that a test moves by hand."""

    freed: int = 0
    head: int = 0
    restored: int = 0
    memmap: dict[str, int] = field(default_factory=lambda: {"boot": 100, "runtime": 10})
    moves: Callable[[], None] = lambda: None
    """Happens between the two looks at the counters."""

    def counters(self) -> Counters:
        key = PageKey(9, 0)
        return Counters(
            {
                (Slot("frames_freed"), key): self.freed,
                (Slot("frames_allocated", "head"), key): self.head,
                (Slot("frames_allocated", "restore"), key): self.restored,
            }
        )

    def memmap_pages(self) -> Mapping[str, int]:
        self.moves()
        return self.memmap

    def pools(self) -> Iterator[Pool]:
        yield from ()

    def enabled(self) -> bool | None:
        return None


class Blind(Kernel):
    """A kernel whose probes are not attached."""

    def counters(self) -> Counters:
        return Counters()


def marked(kernel: Kernel) -> Drift:
    drift = Drift(kernel, kernel)
    drift.mark()
    return drift


def test_what_left_the_memmap_was_counted() -> None:
    kernel = Kernel()
    drift = marked(kernel)
    kernel.freed, kernel.head = 8, 1
    kernel.memmap = {"boot": 92, "runtime": 11}
    assert drift.frames() == 0
    kernel.restored = 7
    kernel.memmap = {"boot": 92, "runtime": 18}
    assert drift.frames() == 0


def test_frames_that_one_side_did_not_see() -> None:
    kernel = Kernel()
    drift = marked(kernel)
    kernel.freed = 7
    assert drift.frames() == 7
    kernel.memmap = {"boot": 80, "runtime": 10}
    assert drift.frames() == -13


def test_before_the_mark_there_is_no_drift() -> None:
    kernel = Kernel()
    assert Drift(kernel, kernel).frames() is None


def test_a_kernel_without_the_counters_has_none() -> None:
    assert marked(Kernel(memmap={})).frames() is None
    assert marked(Kernel(memmap={"runtime": 10})).frames() is None


def test_probes_that_do_not_see_have_none() -> None:
    assert marked(Blind()).frames() is None


def test_counters_that_do_not_stand_still_have_none() -> None:
    kernel = Kernel()
    drift = marked(kernel)

    def move() -> None:
        kernel.freed += 1

    kernel.moves = move
    assert drift.frames() is None


def test_a_memmap_counter_that_falls_below_zero_is_no_drift() -> None:
    kernel = Kernel(memmap={"boot": 131072, "runtime": 7})
    drift = marked(kernel)
    kernel.freed = 14343
    kernel.memmap = {"boot": 131072, "runtime": -14336}
    assert drift.frames() == 0
