# SPDX-License-Identifier: Apache-2.0
"""The event record: one step of the kernel's HugeTLB vmemmap optimization, in 96 bytes.

The C definition is ``probes/bpf/c/hvo_event.h``; a test compiles it and compares size and offsets.
Every backend emits this record, so consumers work with any of them.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, Self

VERSION = 1
"""Incremented when a field changes; readers reject records of an unknown version."""
WITH_STACKS = 2
"""Version of the records of a stream with kernel stacks: as version 1, but ``reuse`` of *_ENTER and
*_EXIT, where it was always 0, is the number of a stack. A stream has records of one version."""
VERSIONS = (VERSION, WITH_STACKS)


class Kind(IntEnum):
    """The step that an event reports, independent of the kernel's function name."""

    OPTIMIZE_ENTER = 1
    OPTIMIZE_EXIT = 2
    REMAP_RANGE = 3
    REMAP_PTE = 4
    RESTORE_ENTER = 5
    RESTORE_EXIT = 6
    RESTORE_PTE = 7
    BATCH_ENTER = 8
    BATCH_EXIT = 9


_WITH_STACK = frozenset(Kind) - {Kind.REMAP_RANGE, Kind.REMAP_PTE, Kind.RESTORE_PTE}


class Reason(IntEnum):
    """Why a successful OPTIMIZE_EXIT remapped no PTE."""

    NONE = 0
    OFF = 1
    """The switch (boot parameter or sysctl) was off."""
    UNSUPPORTED = 2
    """The huge page size has no frame to free, or struct page is not a power of two in size."""
    OTHER = 3
    """HVO was on and the size supported: already optimized, or a self-hosted memmap."""
    UNKNOWN = 4
    """The address of the kernel's switch is not known."""


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
"""Field names and ``struct`` codes in memory order; little endian, no padding."""

RECORD = struct.Struct("<" + "".join(code for _, code in FIELDS))


def offset_of(field: str) -> int:
    """Byte offset of a field in the record. Raises ``ValueError`` for an unknown field."""
    names = [name for name, _ in FIELDS]
    return struct.calcsize("<" + "".join(code for _, code in FIELDS[: names.index(field)]))


class Event(NamedTuple):
    """One record. Which fields are set depends on ``kind``.

    ================ ===================================================================
    field            meaning
    ================ ===================================================================
    timestamp_ns     CLOCK_MONOTONIC at the step
    sequence         number per CPU, from 0; a gap means that records were lost
    start, end       vmemmap addresses: of the whole huge page (OPTIMIZE_*, RESTORE_*), of the
                     range given to the range function (REMAP_RANGE), of one page (*_PTE)
    reuse            address whose frame is shared (REMAP_RANGE); 0 if it is not an argument.
                     In a stream with stacks: number of the kernel stack at the entry, from 1
                     (*_ENTER, *_EXIT); 0 if the kernel did not give one
    duration_ns      time inside the function (*_EXIT)
    ret              return value, a negative errno on failure; -4095 for a failure whose errno
                     was not read (*_EXIT)
    pid, tgid, comm  the task (pid is the thread's id, as in the kernel)
    ptes             PTEs remapped or restored by a successful operation, or by all of a batch
                     (*_EXIT)
    frames_freed     frames freed (OPTIMIZE_EXIT)
    frames_allocated frames allocated: a new head page or the restored frames (*_EXIT)
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

    @property
    def stack(self) -> int:
        """Number of the kernel stack (``Backend.stack``); 0 for none."""
        return self.reuse if self.version == WITH_STACKS and self.kind in _WITH_STACK else 0

    def pack(self) -> bytes:
        """Return the 96-byte record."""
        return RECORD.pack(*self)

    @classmethod
    def unpack(cls, record: bytes | memoryview) -> Self:
        """Decode one record and remove the padding of ``comm``.

        Raises ``ValueError`` for a wrong size, another version or an unknown kind.
        """
        if len(record) != RECORD.size:
            raise ValueError(f"invalid event record: {len(record)} bytes (expected {RECORD.size})")
        event = cls._make(RECORD.unpack(record))
        if event.version not in VERSIONS:
            raise ValueError(
                f"unsupported event record version {event.version} "
                f"(expected {' or '.join(map(str, VERSIONS))})"
            )
        Kind(event.kind)
        return event._replace(comm=event.comm.split(b"\0", 1)[0])


def unpack_all(data: bytes | memoryview) -> Iterator[Event]:
    """Decode back-to-back records. Raises ``ValueError`` as ``Event.unpack`` does."""
    if len(data) % RECORD.size:
        raise ValueError(
            f"invalid event records: {len(data)} bytes (expected a multiple of {RECORD.size})"
        )
    for offset in range(0, len(data), RECORD.size):
        yield Event.unpack(data[offset : offset + RECORD.size])


class CanonicalEvent(NamedTuple):
    """The part of an event that must be equal on two kernels, or on a kernel and its simulation.

    Excluded because they depend on scheduling: time, duration, sequence, CPU and task. Addresses
    are relative to the first byte of the huge page's vmemmap, because absolute ones depend on the
    page allocator.
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
    """Convert ``events`` for comparison. Events outside an operation of their task are skipped."""
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
            reuse=event.reuse - head if event.reuse and not event.stack else None,
            ptes=event.ptes,
            frames_freed=event.frames_freed,
            frames_allocated=event.frames_allocated,
            ret=event.ret,
            reason=Reason(event.reason),
        )
        if event.kind in (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT):
            del base[event.pid]
