# SPDX-License-Identifier: Apache-2.0
"""Layout of the per-CPU counter blocks in BPF memory: C declaration and decoding.

All members are u64, so that Python can read the whole map as one array of numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.counters import BUCKETS_NS, DURATIONS, SLOTS, Counters, Histogram, PageKey, Slot

DIAGNOSTICS: tuple[str, ...] = (
    "missed_optimize",
    "missed_remap_range",
    "missed_restore",
    "missed_batch",
    "map_errors",
    "stream_lost",
    "stream_sent",
)
"""Counters per CPU about the program itself.

- missed_*: returns that the kernel dropped, by step
- map_errors: operations not counted, because the operations map was full or their size or node has
  no counter
- stream_lost: records lost because the ring buffer was full
- stream_sent: all records, including the lost ones
"""

_COUNTED_AS: Mapping[Slot, Slot] = {
    Slot("frames_freed"): Slot("ptes_remapped"),
    Slot("frames_allocated", "restore"): Slot("ptes_restored"),
}
"""Of slots that always grow together, the program counts one: a frame is freed for each PTE
remapped, and allocated for each PTE restored (vmemmap_remap_pte, vmemmap_restore_pte)."""
COUNTED: tuple[Slot, ...] = tuple(slot for slot in SLOTS if slot not in _COUNTED_AS)
"""The slots that have a counter, in its order in the block."""
_COUNTER_OF: Mapping[Slot, int] = {
    slot: COUNTED.index(_COUNTED_AS.get(slot, slot)) for slot in SLOTS
}

_WORDS_PER_CACHE_LINE = 8

_NR_BUCKETS = len(BUCKETS_NS) + 1


def slot_name(slot: Slot) -> str:
    """C macro name of a slot."""
    return "HVO_SLOT_" + "_".join(part for part in slot if part).upper()


@dataclass(frozen=True)
class Layout:
    """Dimensions of the blocks: ``cpus`` blocks, each with ``orders`` x ``nodes`` counter rows."""

    orders: tuple[int, ...]
    nodes: int
    """Highest possible NUMA node number, plus one."""
    cpus: int
    """Highest possible CPU number, plus one."""

    @property
    def block_words(self) -> int:
        """u64 words in one block; whole cache lines, so that CPUs do not share one."""
        return -(-self._used_words // _WORDS_PER_CACHE_LINE) * _WORDS_PER_CACHE_LINE

    @property
    def size(self) -> int:
        """Size of the whole map in bytes."""
        return self.cpus * self.block_words * 8

    @property
    def _used_words(self) -> int:
        return self._durations_at + len(DURATIONS) * len(self.orders) * (_NR_BUCKETS + 1)

    @property
    def _durations_at(self) -> int:
        return len(DIAGNOSTICS) + len(self.orders) * self.nodes * len(COUNTED)

    def declare(self) -> str:
        """Return the C text of ``struct hvo_block`` and the macros that index it."""
        index = "".join(f"(order) == {o} ? {i} : " for i, o in enumerate(self.orders)) + "HVO_SIZES"
        return "\n".join(
            (
                *(f"#define {slot_name(slot)} {i}" for i, slot in enumerate(COUNTED)),
                *(f"#define HVO_DIAG_{name.upper()} {i}" for i, name in enumerate(DIAGNOSTICS)),
                *(f"#define HVO_DURATION_{name.upper()} {i}" for i, name in enumerate(DURATIONS)),
                f"#define HVO_CPUS {self.cpus}",
                f"#define HVO_NODES {self.nodes}",
                f"#define HVO_SIZES {len(self.orders)}",
                f"#define HVO_KEYS {len(self.orders) * self.nodes}",
                f"#define HVO_BUCKETS {_NR_BUCKETS}",
                f"static __always_inline u32 hvo_size_index(u32 order) {{ return {index}; }}",
                f"static __always_inline u32 hvo_bucket(u64 ns)\n{{\n{_search()}}}",
                "struct hvo_duration { u64 bucket[HVO_BUCKETS]; u64 sum_ns; };",
                "struct hvo_block {",
                f"\tu64 diag[{len(DIAGNOSTICS)}];",
                f"\tu64 total[HVO_KEYS][{len(COUNTED)}];",
                f"\tstruct hvo_duration duration[{len(DURATIONS)}][HVO_SIZES];",
                f"\tu64 padding[{self.block_words - self._used_words}];",
                "};",
                "",
            )
        )

    def sum_blocks(self, memory: memoryview) -> list[int]:
        """Sum the blocks of all CPUs word by word."""
        words = memory[: self.size].cast("Q").tolist()
        return [sum(words[i :: self.block_words]) for i in range(self.block_words)]

    def counters(
        self, block: list[int], observed: frozenset[Slot], durations: frozenset[str]
    ) -> Counters:
        """Decode a summed block; only observed slots and durations are in the result."""
        totals: dict[tuple[Slot, PageKey], int] = {}
        for size_index, order in enumerate(self.orders):
            for node in range(self.nodes):
                row = len(DIAGNOSTICS) + (size_index * self.nodes + node) * len(COUNTED)
                for slot in SLOTS:
                    if slot in observed:
                        totals[slot, PageKey(order, node)] = block[row + _COUNTER_OF[slot]]
        return Counters(totals, self._durations(block, durations))

    def diagnostics(self, block: list[int]) -> Mapping[str, int]:
        """Decode the ``DIAGNOSTICS`` counters, by name."""
        return dict(zip(DIAGNOSTICS, block, strict=False))

    def _durations(
        self, block: list[int], observed: frozenset[str]
    ) -> dict[tuple[str, int], Histogram]:
        histograms = {}
        at = self._durations_at
        for direction in DURATIONS:
            for order in self.orders:
                if direction in observed:
                    counts = tuple(block[at : at + _NR_BUCKETS])
                    histograms[direction, order] = Histogram(counts, block[at + _NR_BUCKETS])
                at += _NR_BUCKETS + 1
        return histograms


def _search(low: int = 0, high: int = len(BUCKETS_NS)) -> str:
    """Return C text that returns the index of the first of ``BUCKETS_NS`` that is >= ``ns``.

    A binary search, because it runs for every huge page. Must agree with
    ``probes.counters.bucket_of``.
    """
    if low == high:
        return f"\treturn {low};\n"
    middle = (low + high) // 2
    below, above = _search(low, middle), _search(middle + 1, high)
    return f"\tif (ns <= {BUCKETS_NS[middle]}ULL) {{\n{below}\t}}\n{above}"
