# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.bpf.layout import COUNTED, DIAGNOSTICS, Layout, slot_name
from probes.counters import BUCKETS_NS, DURATIONS, SLOTS, PageKey, Slot, bucket_of
from tests.ctool import run_c

LAYOUT = Layout(orders=(9, 18), nodes=2, cpus=3)


def c_program(layout: Layout, statements: str) -> str:
    return (
        "#include <stdio.h>\n#include <stddef.h>\n"
        "typedef unsigned long long u64; typedef unsigned int u32;\n"
        "#undef __always_inline\n#define __always_inline inline __attribute__((unused))\n"
        f"{layout.declare()}\nint main(void) {{ {statements} return 0; }}"
    )


def test_the_block_layout_is_equal_in_c_and_python(tmp_path: Path) -> None:
    lines = run_c(
        c_program(
            LAYOUT,
            'printf("%zu %zu %zu %d\\n", sizeof(struct hvo_block) / 8,'
            " offsetof(struct hvo_block, total[3][HVO_SLOT_PTES_RESTORED]) / 8,"
            " offsetof(struct hvo_block, duration[1][0].sum_ns) / 8, HVO_KEYS);",
        ),
        tmp_path,
    )
    total = len(DIAGNOSTICS) + 3 * len(COUNTED) + COUNTED.index(Slot("ptes_restored"))
    buckets = len(BUCKETS_NS) + 1
    restore_sum = len(DIAGNOSTICS) + 4 * len(COUNTED) + 2 * (buckets + 1) + buckets
    assert lines[0] == f"{LAYOUT.block_words} {total} {restore_sum} 4"
    assert LAYOUT.block_words % 8 == 0
    assert LAYOUT.size == 3 * 8 * LAYOUT.block_words


def test_buckets_and_size_indices_are_equal_in_c_and_python(tmp_path: Path) -> None:
    probes = [0, *(bound + more for bound in BUCKETS_NS for more in (-1, 0, 1)), 2**64 - 1]
    prints = "".join(f'printf("%d\\n", hvo_bucket({n}ULL));' for n in probes)
    prints += 'printf("%d %d %d\\n", hvo_size_index(9), hvo_size_index(18), hvo_size_index(10));'
    lines = run_c(c_program(LAYOUT, prints), tmp_path)
    assert lines == [*(str(bucket_of(n)) for n in probes), "0 1 2", ""]


def test_blocks_of_all_cpus_are_summed_and_decoded() -> None:
    memory = memoryview(bytearray(LAYOUT.size)).cast("B")
    words = memory.cast("Q")
    for cpu in range(3):
        base = cpu * LAYOUT.block_words
        words[base] = 1  # missed_optimize
        words[base + len(DIAGNOSTICS) + 2 * len(COUNTED)] = 10 + cpu  # calls, 1GB, node 0
        words[base + len(DIAGNOSTICS) + 4 * len(COUNTED)] = 5  # optimize, 2MB, first bucket
    block = LAYOUT.sum_blocks(memory)
    counters = LAYOUT.counters(block, frozenset(SLOTS), frozenset(DURATIONS))
    assert LAYOUT.diagnostics(block)["missed_optimize"] == 3
    nonzero = {key: n for key, n in counters.totals.items() if n}
    assert nonzero == {(Slot("optimize_calls"), PageKey(18, 0)): 33}
    assert len(counters.totals) == len(SLOTS) * 4
    assert counters.durations["optimize", 9].counts[0] == 15


def test_frames_are_counted_by_their_ptes() -> None:
    block = [0] * LAYOUT.block_words
    for slot, n in ((Slot("ptes_remapped"), 161), (Slot("ptes_restored"), 63)):
        block[len(DIAGNOSTICS) + COUNTED.index(slot)] = n
    counters = LAYOUT.counters(block, frozenset(SLOTS), frozenset())
    assert {(*slot, key): n for (slot, key), n in counters.totals.items() if n} == {
        ("ptes_remapped", "", PageKey(9, 0)): 161,
        ("frames_freed", "", PageKey(9, 0)): 161,
        ("ptes_restored", "", PageKey(9, 0)): 63,
        ("frames_allocated", "restore", PageKey(9, 0)): 63,
    }


def test_unobserved_counters_are_absent() -> None:
    block = [0] * LAYOUT.block_words
    counters = LAYOUT.counters(block, frozenset({Slot("optimize_calls")}), frozenset({"restore"}))
    assert {slot for slot, _ in counters.totals} == {Slot("optimize_calls")}
    assert set(counters.durations) == {("restore", 9), ("restore", 18)}


@pytest.mark.parametrize(
    ("slot", "name"),
    [
        (Slot("optimize_calls"), "HVO_SLOT_OPTIMIZE_CALLS"),
        (Slot("frames_allocated", "head"), "HVO_SLOT_FRAMES_ALLOCATED_HEAD"),
    ],
)
def test_slot_name_is_the_c_macro(slot: Slot, name: str) -> None:
    assert slot_name(slot) == name
