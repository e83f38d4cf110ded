# SPDX-License-Identifier: Apache-2.0
"""Simulated time: a monotonic clock that steps of the kernel move on, by a seeded model.

The figures are made up to fall where published ones do, for 2 MB pages on x86-64:

* v17's cover letter: alloc_fresh_huge_page takes 8-32 us with HVO and 4-8 us without, so about
  4-24 us are spent optimising; freeing takes 16-32 us with and 4-16 us without.
* One 1 GB page has 512 times the PTEs. No time for it is published; it follows from the steps.
"""

from random import Random
from typing import NamedTuple

NS_PER_SECOND = 10**9


class Cost(NamedTuple):
    """Shortest and longest time of a step in ns, on an unloaded CPU; evenly spread between."""

    low: int
    high: int


CALL = Cost(150, 400)
"""Entering the per-page function and deciding what to do."""
REMAP_PTE = Cost(300, 900)
"""vmemmap_remap_pte: one PTE written, one frame put on the list."""
RESTORE_PTE = Cost(600, 1_400)
"""vmemmap_restore_pte: a page of struct pages copied, one PTE written."""
ALLOC_FRAME = Cost(200, 600)
FREE_FRAME = Cost(100, 400)
SPLIT_PMD = Cost(2_000, 5_000)
"""split_vmemmap_huge_pmd: a table of 512 entries filled."""
FLUSH_TLB = Cost(1_000, 3_000)
"""flush_tlb_kernel_range or flush_tlb_all: an interrupt to every CPU."""
ALLOC_HUGE = Cost(4_000, 8_000)
"""alloc_fresh_huge_page without HVO."""
FREE_HUGE = Cost(4_000, 16_000)
"""__free_pages of a huge page without HVO."""


class Clock:
    """CLOCK_MONOTONIC of the simulated machine. The same ``seed`` gives the same times."""

    def __init__(self, seed: int, start_ns: int = 60 * NS_PER_SECOND) -> None:
        self.now_ns = start_ns
        """ns since the simulated boot."""
        self._random = Random(seed).random  # noqa: S311 - noise for a model, not a secret
        self._load = 1.0
        self.slowdown = 1.0
        """How many times as long everything takes."""
        self._pace = 0.5

    def draw_load(self) -> None:
        """Draw how loaded the CPU is while it works on the next page: 0.75 to 2 times as long.

        Without it the noise of the 4094 PTEs of a 1 GB page would even out to nothing. For the
        same reason the pace of ``spend_each`` is drawn here, once for all of a page's PTEs.
        """
        self._load = self.slowdown * (0.75 + 1.25 * self._random() ** 3)
        self._pace = (self._random() + self._random() + self._random()) / 3

    def spend(self, cost: Cost) -> None:
        """Move on by one step."""
        low, high = cost
        self.now_ns += int((low + (high - low) * self._random()) * self._load)

    def each_ns(self, cost: Cost) -> int:
        """How long each of many like steps takes while the CPU is on the same page."""
        low, high = cost
        return int((low + (high - low) * self._pace) * self._load)

    def spend_each(self, cost: Cost, count: int = 1) -> None:
        """Move on by ``count`` of such steps."""
        self.now_ns += self.each_ns(cost) * count

    def idle(self, seconds: float) -> None:
        """Move on while nothing happens; ``ValueError`` on a time that runs backwards."""
        if seconds < 0:
            raise ValueError(f"the clock is monotonic: can't idle {seconds} s")
        self.now_ns += int(seconds * NS_PER_SECOND)

    def step(self, seconds: float) -> None:
        """Step the clock, as no monotonic one does; ``ValueError`` beyond the simulated boot."""
        if self.now_ns + seconds * NS_PER_SECOND < 0:
            raise ValueError(f"the clock can't step {seconds:g} s: that is before the boot")
        self.now_ns += int(seconds * NS_PER_SECOND)
