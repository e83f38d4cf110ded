# SPDX-License-Identifier: Apache-2.0
"""Histograms with powers of two, printed as bcc's and bpftrace's tools print them."""

from collections.abc import Iterator

_BAR = 40


class PowerOfTwo:
    """Counts durations by the power of two of their microseconds; exact sum, least and most."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.sum_ns = 0
        self.min_ns: int | None = None
        self.max_ns: int | None = None

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        slot = (duration_ns // 1000).bit_length()
        self._counts[slot] = self._counts.get(slot, 0) + 1
        self.count += 1
        self.sum_ns += duration_ns
        self.min_ns = duration_ns if self.min_ns is None else min(self.min_ns, duration_ns)
        self.max_ns = duration_ns if self.max_ns is None else max(self.max_ns, duration_ns)

    def slots(self) -> Iterator[tuple[int, int, int]]:
        """Yield first and last microsecond and the count, from the first used slot to the last."""
        if not self._counts:
            return
        for slot in range(min(self._counts), max(self._counts) + 1):
            low = 1 << slot >> 1
            yield low, max(0, (1 << slot) - 1), self._counts.get(slot, 0)

    def lines(self) -> Iterator[str]:
        """Format the histogram in at most 80 characters, and its sums."""
        most = max((count for _, _, count in self.slots()), default=0)
        yield f"{'usecs':>19} : {'count':<10} distribution"
        for low, high, count in self.slots():
            bar = "*" * -(-count * _BAR // most)
            yield f"{low:>8} -> {high:<7} : {count:<10} |{bar:<{_BAR}}|"
        if self.min_ns is not None and self.max_ns is not None:
            average = self.sum_ns / self.count / 1e3
            yield (
                f"avg {average:.1f}, min {self.min_ns / 1e3:.1f}, max {self.max_ns / 1e3:.1f}, "
                f"total {self.sum_ns / 1e3:.1f} usecs, count {self.count}"
            )
