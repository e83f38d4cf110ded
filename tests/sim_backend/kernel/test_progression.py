# SPDX-License-Identifier: Apache-2.0
"""Runs of numbers and of event records, against the same made one by one."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.events import Event, Kind, unpack_all
from sim_backend.kernel.progression import progression
from sim_backend.kernel.pte_run import PteRun

words = st.integers(0, 2**64 - 1)


@settings(deadline=None)
@given(first=words, step=st.integers(-(2**56), 2**56), count=st.integers(1, 600))
def test_words(first: int, step: int, count: int) -> None:
    values = [first + i * step for i in range(count)]
    if 0 <= values[-1] < 2**64:
        assert progression(first, step, count) == struct.pack(f"<{count}Q", *values)
    else:
        with pytest.raises(OverflowError, match="do not fit into 64 bits"):
            progression(first, step, count)


@settings(deadline=None)
@given(
    kind=st.sampled_from([Kind.REMAP_PTE, Kind.RESTORE_PTE]),
    timestamp_ns=st.integers(0, 2**60),
    sequence=st.integers(0, 2**60),
    start=st.integers(0xFFFF_0000_0000_0000, 2**64 - 514 * 65536),
    page_size=st.sampled_from([4096, 16384, 65536]),
    pages=st.integers(1, 513),
    each_ns=st.integers(0, 10**9),
)
def test_records(
    *,
    kind: Kind,
    timestamp_ns: int,
    sequence: int,
    start: int,
    page_size: int,
    pages: int,
    each_ns: int,
) -> None:
    first = Event(
        timestamp_ns, sequence, start, start + page_size, pid=7, tgid=7, cpu=3, node=1, kind=kind
    )
    run = PteRun(first._replace(order=18, comm=b"sysctl"), pages, each_ns)
    records = bytes(run.pack())
    assert records == b"".join(event.pack() for event in run.events())
    events = list(unpack_all(records))
    assert len(events) == pages
    assert events[0] == run.first
    assert {later.start - event.start for event, later in pairwise(events)} <= {page_size}
    assert {event.end - event.start for event in events} == {page_size}
    assert events[-1].timestamp_ns == timestamp_ns + (pages - 1) * each_ns
    assert events[-1].sequence == sequence + pages - 1
