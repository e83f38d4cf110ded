# SPDX-License-Identifier: Apache-2.0
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.events import (
    FIELDS,
    RECORD,
    VERSION,
    VERSIONS,
    WITH_STACKS,
    CanonicalEvent,
    Event,
    Kind,
    Reason,
    canonical,
    offset_of,
    unpack_all,
)
from tests.ctool import run_c

HEADER = (files("probes.bpf.c") / "hvo_event.h").read_text()


def test_field_offsets_are_equal_in_c_and_python(tmp_path: Path) -> None:
    prints = "".join(
        f'printf("{name} %zu %zu\\n", offsetof(struct hvo_event, {name}),'
        f" sizeof(((struct hvo_event *)0)->{name}));"
        for name, _ in FIELDS
    )
    lines = run_c(
        f"#include <stdio.h>\n#include <stddef.h>\n{HEADER}\n"
        f'int main(void) {{ {prints} printf("%zu\\n", sizeof(struct hvo_event)); return 0; }}',
        tmp_path,
    )
    expected, offset = [], 0
    for name, code in FIELDS:
        size = {"Q": 8, "I": 4, "i": 4, "H": 2, "h": 2, "B": 1, "16s": 16}[code]
        expected.append(f"{name} {offset} {size}")
        offset += size
    assert lines == [*expected, "96", ""]
    assert RECORD.size == 96


def test_enumerators_are_equal_in_c_and_python(tmp_path: Path) -> None:
    names = [f"HVO_{kind.name}" for kind in Kind]
    names += [f"HVO_REASON_{reason.name}" for reason in Reason]
    names += ["HVO_EVENT_VERSION", "HVO_EVENT_STACKS"]
    prints = "".join(f'printf("%d\\n", {name});' for name in names)
    lines = run_c(
        f"#include <stdio.h>\n{HEADER}\nint main(void) {{ {prints} return 0; }}", tmp_path
    )
    assert lines == [*(str(int(n)) for n in (*Kind, *Reason)), *map(str, VERSIONS), ""]


def test_event_has_the_fields_of_the_record() -> None:
    assert Event._fields == tuple(name for name, _ in FIELDS)


u64, u32, u16, u8 = (st.integers(0, 2**bits - 1) for bits in (64, 32, 16, 8))
events = st.builds(
    Event,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    st.integers(-(2**31), 2**31 - 1),
    u32,
    u32,
    u32,
    u32,
    u32,
    u16,
    st.integers(-(2**15), 2**15 - 1),
    st.sampled_from(Kind),
    u8,
    st.sampled_from(Reason),
    st.just(VERSION),
    st.binary(max_size=15).filter(lambda comm: b"\0" not in comm),
)


@given(st.lists(events, max_size=5))
def test_unpack_all_returns_the_packed_events(some: list[Event]) -> None:
    assert list(unpack_all(b"".join(event.pack() for event in some))) == some


def test_a_record_of_another_version_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"unsupported event record version 3 \(expected 1 or 2\)"):
        Event.unpack(Event(kind=Kind.REMAP_PTE, version=3).pack())


@pytest.mark.parametrize("kind", Kind)
def test_only_entries_and_exits_of_version_2_have_a_stack(kind: Kind) -> None:
    record = Event(kind=kind, reuse=23, version=WITH_STACKS).pack()
    assert len(record) == 96
    has_one = kind.name.endswith(("_ENTER", "_EXIT"))
    assert Event.unpack(record).stack == (23 if has_one else 0)
    assert Event(kind=kind, reuse=23).stack == 0


def test_a_record_of_an_unknown_kind_is_rejected() -> None:
    with pytest.raises(ValueError, match="99 is not a valid Kind"):
        Event.unpack(Event(kind=99).pack())


def test_a_truncated_record_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"records: 95 bytes \(expected a multiple of 96\)"):
        list(unpack_all(bytes(95)))
    with pytest.raises(ValueError, match=r"invalid event record: 1 bytes \(expected 96\)"):
        Event.unpack(b"x")


def test_canonical_addresses_are_relative_to_the_huge_page_of_their_task() -> None:
    stream = [
        Event(kind=Kind.REMAP_PTE, pid=7, start=5),  # its operation began before the stream
        Event(kind=Kind.OPTIMIZE_ENTER, pid=7, start=0x10000, end=0x18000, order=9, cpu=3),
        Event(kind=Kind.OPTIMIZE_ENTER, pid=8, start=0x90000, end=0x98000, order=9, node=1),
        Event(kind=Kind.REMAP_RANGE, pid=7, start=0x12000, end=0x18000, reuse=0x11000, order=9),
        Event(kind=Kind.REMAP_PTE, pid=8, start=0x92000, end=0x93000, order=9, node=1),
        Event(kind=Kind.OPTIMIZE_EXIT, pid=7, start=0x10000, end=0x18000, order=9, ret=-12),
        Event(kind=Kind.REMAP_PTE, pid=7, start=0x12000),  # after its operation
    ]
    zero = (0, 0, 0)
    assert list(canonical(stream)) == [
        CanonicalEvent(Kind.OPTIMIZE_ENTER, 9, 0, 0, 0x8000, None, *zero, 0, Reason.NONE),
        CanonicalEvent(Kind.OPTIMIZE_ENTER, 9, 1, 0, 0x8000, None, *zero, 0, Reason.NONE),
        CanonicalEvent(Kind.REMAP_RANGE, 9, 0, 0x2000, 0x8000, 0x1000, *zero, 0, Reason.NONE),
        CanonicalEvent(Kind.REMAP_PTE, 9, 1, 0x2000, 0x3000, None, *zero, 0, Reason.NONE),
        CanonicalEvent(Kind.OPTIMIZE_EXIT, 9, 0, 0, 0x8000, None, *zero, -12, Reason.NONE),
    ]


def test_canonical_events_are_the_same_with_stacks() -> None:
    plain = Event(kind=Kind.OPTIMIZE_ENTER, pid=7, start=0x10000, end=0x18000, order=9)
    stacked = plain._replace(reuse=23, version=WITH_STACKS)
    assert list(canonical([plain])) == list(canonical([stacked]))


def test_offset_of_locates_each_field_in_the_record() -> None:
    record = Event(kind=Kind.BATCH_EXIT, sequence=0x17, cpu=0x29).pack()
    assert (offset_of("timestamp_ns"), offset_of("comm")) == (0, RECORD.size - 16)
    assert record[offset_of("kind")] == Kind.BATCH_EXIT
    assert record[offset_of("sequence")] == 0x17
    assert record[offset_of("cpu")] == 0x29
