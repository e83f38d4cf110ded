# SPDX-License-Identifier: Apache-2.0
"""The event record: one step of the kernel's HugeTLB vmemmap optimisation, as 96 bytes.

The C twin is ``probes/bpf/c/hvo_event.h``; a test compiles it and compares size and offsets.
Every backend emits exactly this record, so nothing downstream can tell where it came from.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, Self

VERSION = 1
"""Bumped when a field changes; readers refuse records of another version."""


class Kind(IntEnum):
    """The semantic step, whatever a given kernel calls the function."""

    OPTIMIZE_ENTER = 1
    OPTIMIZE_EXIT = 2
    REMAP_RANGE = 3
    REMAP_PTE = 4
    RESTORE_ENTER = 5
    RESTORE_EXIT = 6
    RESTORE_PTE = 7
    BATCH_ENTER = 8
    BATCH_EXIT = 9


class Reason(IntEnum):
    """Why a successful OPTIMIZE_EXIT remapped nothing."""

    NONE = 0
    OFF = 1
    """The switch (boot parameter or sysctl) was off."""
    UNSUPPORTED = 2
    """The size has no frame to spare, or struct page is no power of two."""
    OTHER = 3
    """Switched on and possible, yet nothing done: already optimised, or a self-hosted memmap."""
    UNKNOWN = 4
    """The kernel does not show its switch to a probe."""


FIELDS: tuple[tuple[str, str], ...] = (
    ("timestamp_ns", "Q"),
    ("sequence", "Q"),
    ("start", "Q"),
    ("end", "Q"),
    ("reuse", "Q"),
    ("duration_ns", "Q"),
    ("ret", "i"),
    ("pid", "I"),
    ("tgid", "I"),
    ("ptes", "I"),
    ("frames_freed", "I"),
    ("frames_allocated", "I"),
    ("cpu", "H"),
    ("node", "h"),
    ("kind", "B"),
    ("order", "B"),
    ("reason", "B"),
    ("version", "B"),
    ("comm", "16s"),
)
"""Field names and their ``struct`` codes, in memory order; little endian, no padding."""

RECORD = struct.Struct("<" + "".join(code for _, code in FIELDS))


def offset_of(field: str) -> int:
    """Where a field begins in the record, in bytes. Raises ``ValueError`` for an unknown one."""
    names = [name for name, _ in FIELDS]
    return struct.calcsize("<" + "".join(code for _, code in FIELDS[: names.index(field)]))


class Event(NamedTuple):
    """One record. Which fields carry meaning depends on ``kind``.

    ================ ===================================================================
    field            meaning
    ================ ===================================================================
    timestamp_ns     CLOCK_MONOTONIC, at the step
    sequence         per CPU, from 0, without gaps unless records were lost
    start, end       vmemmap addresses: of the whole huge page (OPTIMIZE_*, RESTORE_*), of the
                     range handed to the range function (REMAP_RANGE), of one page (*_PTE)
    reuse            the address whose frame is shared (REMAP_RANGE); 0 where not an argument
    duration_ns      time inside the function (*_EXIT)
    ret              the function's return value, a negative errno on failure; -4095 for a failure
                     whose errno was not read (*_EXIT)
    pid, tgid, comm  the task (pid is the thread's id, as in the kernel)
    ptes             PTEs remapped or restored by a successful operation, or by all of a batch
                     (*_EXIT)
    frames_freed     frames given back (OPTIMIZE_EXIT)
    frames_allocated frames taken: a new head page or the restored frames (*_EXIT)
    cpu, node        CPU that ran the step; NUMA node of the huge page, -1 for a BATCH_*
    order            huge page size as a power of two of base pages
    reason           a ``Reason`` (OPTIMIZE_EXIT)
    ================ ===================================================================
    """

    timestamp_ns: int = 0
    sequence: int = 0
    start: int = 0
    end: int = 0
    reuse: int = 0
    duration_ns: int = 0
    ret: int = 0
    pid: int = 0
    tgid: int = 0
    ptes: int = 0
    frames_freed: int = 0
    frames_allocated: int = 0
    cpu: int = 0
    node: int = 0
    kind: int = 0
    order: int = 0
    reason: int = 0
    version: int = VERSION
    comm: bytes = b""

    def pack(self) -> bytes:
        """Return the 96-byte record."""
        return RECORD.pack(*self)

    @classmethod
    def unpack(cls, record: bytes | memoryview) -> Self:
        """Read one record; ``comm`` comes back without its padding.

        Raises ``ValueError`` on a wrong size, another version or an unknown kind.
        """
        if len(record) != RECORD.size:
            raise ValueError(f"an event record has {RECORD.size} bytes, not {len(record)}")
        event = cls._make(RECORD.unpack(record))
        if event.version != VERSION:
            raise ValueError(f"event record version {event.version}; this build reads {VERSION}")
        Kind(event.kind)
        return event._replace(comm=event.comm.split(b"\0", 1)[0])


def unpack_all(data: bytes | memoryview) -> Iterator[Event]:
    """Read back-to-back records. Raises ``ValueError`` as ``Event.unpack`` does."""
    if len(data) % RECORD.size:
        raise ValueError(f"{len(data)} bytes are no whole number of {RECORD.size}-byte records")
    for offset in range(0, len(data), RECORD.size):
        yield Event.unpack(data[offset : offset + RECORD.size])


class CanonicalEvent(NamedTuple):
    """What two kernels (or a kernel and its simulation) must agree on, event by event.

    Left out, because they can't be equal: time, duration, sequence, CPU and task (scheduling);
    absolute addresses (which frames the allocator handed out): they are made relative to the first
    byte of the huge page's own vmemmap.
    """

    kind: Kind
    order: int
    node: int
    start: int
    end: int
    reuse: int | None
    ptes: int
    frames_freed: int
    frames_allocated: int
    ret: int
    reason: Reason


def canonical(events: Iterable[Event]) -> Iterator[CanonicalEvent]:
    """Make ``events`` comparable. Steps outside any operation of their task are passed over."""
    base: dict[int, int] = {}
    for event in events:
        if event.kind in (Kind.OPTIMIZE_ENTER, Kind.RESTORE_ENTER):
            base[event.pid] = event.start
        batch = event.kind in (Kind.BATCH_ENTER, Kind.BATCH_EXIT)
        if event.pid not in base and not batch:
            continue
        head = 0 if batch else base[event.pid]
        yield CanonicalEvent(
            kind=Kind(event.kind),
            order=event.order,
            node=event.node,
            start=event.start - head,
            end=event.end - head,
            reuse=event.reuse - head if event.reuse else None,
            ptes=event.ptes,
            frames_freed=event.frames_freed,
            frames_allocated=event.frames_allocated,
            ret=event.ret,
            reason=Reason(event.reason),
        )
        if event.kind in (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT):
            del base[event.pid]
