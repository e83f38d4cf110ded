# SPDX-License-Identifier: Apache-2.0
from errno import EIO, ENOMEM

from hypothesis import given
from hypothesis import strategies as st

from probes.counters import (
    BUCKETS_NS,
    DURATIONS,
    SLOTS,
    Counters,
    PageKey,
    Slot,
    bucket_of,
    reduce,
)
from probes.events import Event, Kind, Reason


def nonzero(counters: Counters) -> dict[tuple[str, str, int, int], int]:
    return {(slot.family, slot.detail, *key): n for (slot, key), n in counters.totals.items() if n}


def test_one_optimized_and_restored_page_counts_8_and_7_ptes() -> None:
    page = Event(order=9, node=1)
    counters = reduce(
        [
            page._replace(kind=Kind.OPTIMIZE_ENTER),
            page._replace(kind=Kind.REMAP_PTE),
            page._replace(
                kind=Kind.OPTIMIZE_EXIT,
                ptes=8,
                frames_freed=8,
                frames_allocated=1,
                duration_ns=30_000,
            ),
            page._replace(kind=Kind.RESTORE_ENTER),
            page._replace(
                kind=Kind.RESTORE_EXIT, ptes=7, frames_allocated=7, duration_ns=2_000_000_000
            ),
        ]
    )
    assert nonzero(counters) == {
        ("optimize_calls", "", 9, 1): 1,
        ("hugepages_optimized", "", 9, 1): 1,
        ("ptes_remapped", "", 9, 1): 8,
        ("frames_freed", "", 9, 1): 8,
        ("frames_allocated", "head", 9, 1): 1,
        ("frames_allocated", "restore", 9, 1): 7,
        ("hugepages_restored", "", 9, 1): 1,
        ("ptes_restored", "", 9, 1): 7,
    }
    optimize = counters.durations["optimize", 9]
    assert [i for i, n in enumerate(optimize.counts) if n] == [BUCKETS_NS.index(50_000)]
    assert optimize.sum_ns == 30_000
    assert counters.durations["restore", 9].counts[-1] == 1


def test_failures_and_skips_count_no_frames() -> None:
    def exits(kind: Kind, ret: int = 0, reason: Reason = Reason.NONE) -> Event:
        return Event(kind=kind, ret=ret, reason=reason, order=9, duration_ns=1)

    counters = reduce(
        [
            exits(Kind.OPTIMIZE_EXIT, -12),
            exits(Kind.OPTIMIZE_EXIT, -524),
            exits(Kind.OPTIMIZE_EXIT, -22),
            exits(Kind.OPTIMIZE_EXIT, 0, Reason.OFF),
            exits(Kind.OPTIMIZE_EXIT, 0, Reason.UNSUPPORTED),
            exits(Kind.OPTIMIZE_EXIT, 0, Reason.OTHER),
            exits(Kind.OPTIMIZE_EXIT, 0, Reason.UNKNOWN),
            exits(Kind.RESTORE_EXIT, -12),
            exits(Kind.RESTORE_EXIT, -5),
            exits(Kind.RESTORE_EXIT),  # was never optimized
        ]
    )
    assert nonzero(counters) == {
        ("optimize_failures", "ENOMEM", 9, 0): 1,
        ("optimize_failures", "ENOTSUPP", 9, 0): 1,
        ("optimize_failures", "other", 9, 0): 1,
        ("hugepages_skipped", "off", 9, 0): 1,
        ("hugepages_skipped", "unsupported", 9, 0): 1,
        ("hugepages_skipped", "other", 9, 0): 1,
        ("hugepages_skipped", "unknown", 9, 0): 1,
        ("restore_failures", "ENOMEM", 9, 0): 1,
        ("restore_failures", "other", 9, 0): 1,
    }
    # Only calls that tried something are timed: the three failures, not the four skips.
    assert sum(counters.durations["optimize", 9].counts) == 3
    assert sum(counters.durations["restore", 9].counts) == 2


def test_a_skip_without_reason_counts_as_unknown() -> None:
    counters = reduce([Event(kind=Kind.OPTIMIZE_EXIT, order=9, reason=Reason.NONE)])
    assert nonzero(counters) == {("hugepages_skipped", "unknown", 9, 0): 1}


def test_given_keys_are_zero_and_other_keys_are_absent() -> None:
    counters = reduce([], [PageKey(18, 2)])
    assert set(counters.totals) == {(slot, PageKey(18, 2)) for slot in SLOTS}
    assert set(counters.totals.values()) == {0}
    assert set(counters.durations) == {("optimize", 18), ("restore", 18)}
    assert counters.total("frames_freed") == 0
    assert Counters().total("frames_freed") is None


def test_total_sums_one_detail_over_sizes_and_nodes() -> None:
    counters = Counters(
        {
            (Slot("frames_allocated", "head"), PageKey(9, 0)): 3,
            (Slot("frames_allocated", "head"), PageKey(18, 1)): 4,
            (Slot("frames_allocated", "restore"), PageKey(9, 0)): 100,
        }
    )
    assert counters.total("frames_allocated", "head") == 7


def test_two_pages_add_up() -> None:
    leave = Event(kind=Kind.RESTORE_EXIT, order=9, ptes=7, frames_allocated=7, duration_ns=5_000)
    counters = reduce([leave, leave._replace(ptes=5, frames_allocated=5, duration_ns=30_000)])
    assert counters.total("ptes_restored") == counters.total("frames_allocated", "restore") == 12
    assert counters.total("hugepages_restored") == 2
    histogram = counters.durations["restore", 9]
    assert (sum(histogram.counts), histogram.sum_ns) == (2, 35_000)


def test_failures_of_a_restore_by_errno() -> None:
    failed = Event(kind=Kind.RESTORE_EXIT, order=9, ret=-ENOMEM)
    assert nonzero(reduce([failed, failed, failed._replace(ret=-EIO)])) == {
        ("restore_failures", "ENOMEM", 9, 0): 2,
        ("restore_failures", "other", 9, 0): 1,
    }


def test_batches_are_timed_if_they_did_anything() -> None:
    leave = Event(kind=Kind.BATCH_EXIT, order=9, node=-1, ptes=184, duration_ns=700_000)
    nothing = leave._replace(ptes=0)
    counters = reduce([leave, nothing, leave], durations=DURATIONS)
    histogram = counters.durations["batch", 9]
    assert (sum(histogram.counts), histogram.sum_ns) == (2, 1_400_000)
    assert nonzero(counters) == {}
    remapped = leave._replace(kind=Kind.REMAP_PTE)
    assert reduce([remapped], durations=DURATIONS).durations == {}


def test_durations_that_a_kernel_has_are_zero_from_the_start() -> None:
    counters = reduce([], [PageKey(9, 0)], durations=DURATIONS)
    assert set(counters.durations) == {("optimize", 9), ("restore", 9), ("batch", 9)}


@given(st.integers(0, 2**63))
def test_bucket_of_is_the_first_bound_not_below_the_duration(duration: int) -> None:
    index = bucket_of(duration)
    assert index == len(BUCKETS_NS) or duration <= BUCKETS_NS[index]
    assert index == 0 or duration > BUCKETS_NS[index - 1]
