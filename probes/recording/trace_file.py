# SPDX-License-Identifier: Apache-2.0
"""A recorded event stream as a file.

::

    magic "HVOTRACE", format version (u32, little endian)
    block "HEAD"    the header
    block "DATA"    an observation, and the records that came before it (many times)
    block "DONE"    how the recording ended (missing when the recorder was killed)

Blocks are as in ``trace_block.py``. Each is written at once and needs no other, so the file is
whole up to its last whole block wherever its writer is stopped. It is read and written from front
to back: both ends may be pipes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, NamedTuple, Self

from probes import events
from probes.backend import BackendError
from probes.observation import Observation, ProbeStatus
from probes.recording import observation_json, trace_block
from probes.recording.trace_block import PREFIX, DamagedError

VERSION = 1
"""Of the format. Keys may be added to the JSON parts without a new one."""

BLOCK_RECORDS = 16_384
"""Records to put into a block: 1.5 MB, little enough for a CPU's cache."""

_STANDARD_INPUT = Path("/dev/stdin")
_MAGIC = b"HVOTRACE"
_START = Struct("<8sI")
_HEAD, _DATA, _DONE = b"HEAD", b"DATA", b"DONE"
_KNOWN = {
    "version": {events.VERSION},
    "kind": set(map(int, events.Kind)),
    "reason": set(map(int, events.Reason)),
}
"""Values that a field may have, where not every number has a meaning."""


class TraceFileError(BackendError):
    """A file is no trace, or a damaged one; the message is one line with file and offset."""


@dataclass(frozen=True)
class Header:
    """Where a trace comes from."""

    backend: str
    kernel: str
    """Its release, or the generation of a simulated one."""
    mode: str
    page_size: int
    monotonic_ns: int
    """CLOCK_MONOTONIC at the start, of which are the times of a real kernel's events."""
    wall_ns: int
    """The time of day just then, since 1970."""
    generation: str = ""
    """The simulator's name for what this kernel does, where known."""
    machine: str = ""
    """As ``uname -m`` says."""
    cpus: int = 0
    nodes: tuple[int, ...] = ()
    probes: tuple[ProbeStatus, ...] = ()
    """Functions and ways to attach, by step."""
    hvoscope: str = ""
    """The version that recorded it."""
    event_version: int = events.VERSION
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else a reader should know."""

    def about(self) -> str:
        """One line for people: what was recorded, and when."""
        began = datetime.fromtimestamp(self.wall_ns / 1e9, UTC)
        how = f"{self.backend}, {self.mode}"
        return f"{self.kernel} ({how}), recorded {began:%Y-%m-%d %H:%M:%S} UTC"


class Block(NamedTuple):
    """Whole records, and how things stood then: at the last look, a second before at most."""

    observation: Observation
    records: bytes


class Done(NamedTuple):
    """The end of a recording that was not killed."""

    events: int
    """Records in the file."""
    reason: str
    """What ended it."""


class TraceWriter:
    """Writes one trace. What was written before an ``OSError`` stays whole."""

    def __init__(self, file: BinaryIO, header: Header, *, level: int = trace_block.FASTEST) -> None:
        """Write ``header`` to ``file``, which must be unbuffered. Raises ``OSError``.

        ``level`` is zlib's, up to 9.
        """
        self._file = file
        self._level = level
        self.events = 0
        self.bytes = 0
        self._write(_START.pack(_MAGIC, VERSION) + trace_block.pack(_HEAD, asdict(header)))

    def write(self, now: Observation, records: bytes) -> None:
        """Add back-to-back records and an observation made after them. Raises ``OSError``."""
        content = observation_json.to_json(now)
        self._write(trace_block.pack(_DATA, content, records, level=self._level))
        self.events += len(records) // events.RECORD.size

    def finish(self, reason: str) -> None:
        """Say that this is all. Raises ``OSError``; to close the file is the caller's."""
        self._write(trace_block.pack(_DONE, Done(self.events, reason)._asdict()))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with suppress(OSError):  # a pipe or a device has no end to cut off
                self._file.truncate(self.bytes)
            raise
        self.bytes += len(data)


class TraceReader:
    """Reads one trace, front to back. Whatever is wrong with it is a ``TraceFileError``."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read the header; ``name`` is the file's, for messages. ``close`` closes it."""
        self._file = file
        self._name = name
        self._offset = 0
        self._block_at = 0
        self.done: Done | None = None
        """Set at the end of a recording that was not killed."""
        self.missing = ""
        """What a file that ends too early lacks, one line; set at its end."""
        self._check_start()
        self.header = self._read_header()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file at ``path`` and read its header.

        Standard input is read where it stands, and need not be one that can be opened again.
        """
        try:
            file = os.fdopen(os.dup(0), "rb") if path == _STANDARD_INPUT else path.open("rb")
        except OSError as error:
            raise TraceFileError(f"{path}: {error.strerror}") from error
        try:
            return cls(file, str(path))
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def blocks(self) -> Iterator[Block]:
        """Yield every whole block, once."""
        while True:
            with self._explained():
                block = self._next_block()
            if block is None:
                return
            yield block

    def _check_start(self) -> None:
        start = self._take(_START.size)
        if not start or not start.startswith(_MAGIC[: len(start)]):
            raise self._error(0, "no hvoscope trace (hvoscope record makes one)")
        if len(start) < _START.size:
            raise self._error(len(start), "the file ends before its header")
        _, version = _START.unpack(start)
        if version != VERSION:
            raise self._error(
                len(_MAGIC),
                f"trace format {version}, and this hvoscope reads {VERSION}: use the hvoscope "
                "that recorded it, or a newer one",
            )

    def _read_header(self) -> Header:
        with self._explained():
            read = self._read()
            if read is None:
                raise DamagedError("the file ends before the end of its header")
            tag, content, _ = read
            if tag != _HEAD:
                raise DamagedError("the file has no header")
            if content["event_version"] != events.VERSION:
                raise DamagedError(
                    f"event records of version {content['event_version']}, and this hvoscope "
                    f"reads {events.VERSION}"
                )
            content["nodes"] = tuple(content["nodes"])
            content["probes"] = tuple(map(observation_json.probe_from_json, content["probes"]))
            return Header(**{f.name: content[f.name] for f in fields(Header)})

    def _next_block(self) -> Block | None:
        read = self._read()
        if read is None:
            return None
        tag, content, records = read
        if tag == _DATA:
            _check_records(records)
            return Block(observation_json.from_json(content), records)
        if tag != _DONE:
            raise DamagedError(f"a block of an unknown kind, {tag!r}")
        self.done = Done(content["events"], content["reason"])
        return None

    def _read(self) -> tuple[bytes, Any, bytes] | None:
        """Tag, JSON and records of a block; None, and ``missing`` set, where the file ends."""
        self._block_at = self._offset
        start = self._take(PREFIX.size)
        if len(start) == PREFIX.size:
            prefix = trace_block.unpack_prefix(start)
            stored = self._take(prefix.stored)
            if len(stored) == prefix.stored:
                return prefix.tag, *trace_block.unpack(prefix, stored)
        part = self._offset - self._block_at
        self.missing = f"{self._name}: cut short: the recording's end is missing, " + (
            f"only {part} bytes of the block at offset {self._block_at} are there"
            if part
            else f"all that followed offset {self._block_at}"
        )
        return None

    def _take(self, size: int) -> bytes:
        """So many bytes, or what is left of the file; a buffered file waits for a slow pipe."""
        try:
            data = self._file.read(size)
        except OSError as error:
            raise self._error(self._offset, error.strerror or str(error)) from error
        self._offset += len(data)
        return data

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Make an error in what a block holds one line that says where."""
        try:
            yield
        except (KeyError, TypeError) as error:
            raise self._error(self._block_at, f"a block lacks something: {error}") from error
        except ValueError as error:
            raise self._error(self._block_at, str(error)) from error

    def _error(self, offset: int, what: str) -> TraceFileError:
        return TraceFileError(f"{self._name}: offset {offset}: {what}")


def _check_records(records: bytes) -> None:
    """Refuse records that nobody downstream could read. Raises ``DamagedError``."""
    for name, known in _KNOWN.items():
        if unknown := set(records[events.offset_of(name) :: events.RECORD.size]) - known:
            raise DamagedError(f"an event record of the unknown {name} {min(unknown)}")
