# SPDX-License-Identifier: Apache-2.0
"""The trace file format: a recorded event stream with observations.

::

    magic "HVOTRACE", format version (u32, little endian)
    block "HEAD"    the header
    block "DATA"    an observation, and the records before it (any number of blocks)
    block "DONE"    why the recording ended (missing if the recorder was killed)

``trace_block.py`` has the format of blocks. Each block is independent and written at once, so the
file is valid up to its last complete block, even if its writer is killed. Files are written and
read sequentially, so both may be pipes.
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
"""Version of the format; not changed when keys are added to the JSON parts."""

BLOCK_RECORDS = 16_384
"""Maximum records per written block: 1.5 MB, which fits into a CPU's cache."""

_STANDARD_INPUT = Path("/dev/stdin")
_MAGIC = b"HVOTRACE"
_START = Struct("<8sI")
_HEAD, _DATA, _DONE = b"HEAD", b"DATA", b"DONE"
_KNOWN = {
    "kind": set(map(int, events.Kind)),
    "reason": set(map(int, events.Reason)),
}
"""Valid values of fields for which not every number is valid."""
_TEXTS = ("backend", "kernel", "mode", "generation", "machine", "hvoscope")
_NUMBERS = ("page_size", "monotonic_ns", "wall_ns", "cpus")


class TraceFileError(BackendError):
    """A file is not a trace or is damaged; the message is one line with file and offset."""


@dataclass(frozen=True)
class Header:
    """Origin of a trace."""

    backend: str
    kernel: str
    """Kernel release, or the generation of a simulated kernel."""
    mode: str
    page_size: int
    monotonic_ns: int
    """CLOCK_MONOTONIC at the start, which is also the clock of a real kernel's events."""
    wall_ns: int
    """Wall clock at the start, in ns since 1970."""
    generation: str = ""
    """The simulator's name for this kernel's behavior; empty if not known."""
    machine: str = ""
    """Architecture (``uname -m``)."""
    cpus: int = 0
    nodes: tuple[int, ...] = ()
    probes: tuple[ProbeStatus, ...] = ()
    """Hooked functions and attach types, by step."""
    hvoscope: str = ""
    """Version of hvoscope that recorded the trace."""
    event_version: int = events.VERSION
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Additional information for readers."""
    events_ns: int | None = None
    """Clock of the events at the start, which is a simulated kernel's own; None for a recording of
    a simulated kernel that does not tell it, as older ones."""

    def about(self) -> str:
        """Summary in one line: what was recorded, and when."""
        start = datetime.fromtimestamp(self.wall_ns / 1e9, UTC)
        how = f"{self.backend}, {self.mode}"
        return f"{self.kernel} ({how}), recorded {start:%Y-%m-%d %H:%M:%S} UTC"


Stacks = Mapping[int, tuple[str, ...]]
"""Frames of kernel stacks, innermost first, by their numbers in the records."""
_NO_STACKS: Stacks = {}


class Block(NamedTuple):
    """Event records, and the latest observation at that time, at most a second old."""

    observation: Observation
    records: bytes
    stacks: Stacks = _NO_STACKS
    """Those that no earlier block had."""


class Done(NamedTuple):
    """End of a complete recording."""

    events: int
    """Records in the file."""
    reason: str
    """Why the recording ended."""


class TraceWriter:
    """Writes one trace. Blocks written before an ``OSError`` remain valid."""

    def __init__(self, file: BinaryIO, header: Header, *, level: int = trace_block.FASTEST) -> None:
        """Write ``header`` to ``file``, which must be unbuffered. Raises ``OSError``.

        ``level`` is the zlib level, up to 9.
        """
        self._file = file
        self._level = level
        self.events = 0
        self.bytes = 0
        self._write(_START.pack(_MAGIC, VERSION) + trace_block.pack(_HEAD, asdict(header)))

    def write(self, now: Observation, records: bytes, stacks: Stacks = _NO_STACKS) -> None:
        """Write back-to-back records and an observation made after them. Raises ``OSError``.

        ``stacks`` are those of the records that were not written before.
        """
        content = observation_json.to_json(now)
        if stacks:
            content["stacks"] = {str(number): frames for number, frames in stacks.items()}
        self._write(trace_block.pack(_DATA, content, records, level=self._level))
        self.events += len(records) // events.RECORD.size

    def finish(self, reason: str) -> None:
        """Write the end of the recording; does not close the file. Raises ``OSError``."""
        self._write(trace_block.pack(_DONE, Done(self.events, reason)._asdict()))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with suppress(OSError):  # a pipe or a device can't be truncated
                self._file.truncate(self.bytes)
            raise
        self.bytes += len(data)


class TraceReader:
    """Reads one trace sequentially. Raises ``TraceFileError`` for every error."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read the header; ``name`` is used in messages. ``close`` closes the file."""
        self._file = file
        self._name = name
        self._offset = 0
        self._block_at = 0
        self.done: Done | None = None
        """Set at the end of a complete recording."""
        self.missing = ""
        """What is missing from a truncated file, one line; set at its end."""
        self._check_start()
        self.header = self._read_header()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file at ``path`` and read its header.

        /dev/stdin is read through descriptor 0, because not every standard input can be reopened.
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
        """Yield every complete block, once."""
        while True:
            with self._explained():
                block = self._next_block()
            if block is None:
                return
            yield block

    def _check_start(self) -> None:
        start = self._take(_START.size)
        if not start or not start.startswith(_MAGIC[: len(start)]):
            raise self._error(0, "not an hvoscope trace (`hvoscope record` creates one)")
        if len(start) < _START.size:
            raise self._error(len(start), "the file ends before its header")
        _, version = _START.unpack(start)
        if version != VERSION:
            raise self._error(
                len(_MAGIC),
                f"unsupported trace format {version} (expected {VERSION}): use the hvoscope "
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
            if content["event_version"] not in events.VERSIONS:
                raise DamagedError(
                    f"unsupported event record version {content['event_version']} (expected "
                    f"{' or '.join(map(str, events.VERSIONS))})"
                )
            _check_header(content)
            content["nodes"] = tuple(content["nodes"])
            content["probes"] = tuple(map(observation_json.probe_from_json, content["probes"]))
            simulated = content["mode"] == "simulated"
            if content.setdefault("events_ns") is None and not simulated:
                content["events_ns"] = content["monotonic_ns"]
            return Header(**{f.name: content[f.name] for f in fields(Header)})

    def _next_block(self) -> Block | None:
        read = self._read()
        if read is None:
            return None
        tag, content, records = read
        if tag == _DATA:
            _check_records(records, self.header.event_version)
            stacks = _stacks(content.get("stacks", {}))
            return Block(observation_json.from_json(content), records, stacks)
        if tag != _DONE:
            raise DamagedError(f"a block has the unknown tag {tag!r}")
        self.done = Done(content["events"], content["reason"])
        return None

    def _read(self) -> tuple[bytes, Any, bytes] | None:
        """Return tag, JSON and records of a block; at the file's end set ``missing`` instead."""
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
        """Read ``size`` bytes, or fewer at the end; a buffered file waits for a slow pipe."""
        try:
            data = self._file.read(size)
        except OSError as error:
            raise self._error(self._offset, error.strerror or str(error)) from error
        self._offset += len(data)
        return data

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Convert errors in a block's contents to one line with the block's offset."""
        try:
            yield
        except (KeyError, TypeError, AttributeError) as error:
            raise self._error(self._block_at, f"a block has invalid JSON: {error}") from error
        except ValueError as error:
            raise self._error(self._block_at, str(error)) from error

    def _error(self, offset: int, what: str) -> TraceFileError:
        return TraceFileError(f"{self._name}: offset {offset}: {what}")


def _check_header(content: dict[str, Any]) -> None:
    """Reject what can't be told as ``Header.about`` does. Raises ``DamagedError``."""
    for name in _TEXTS:
        if not isinstance(content[name], str):
            raise DamagedError(f"the header's {name} is {content[name]!r} (expected a string)")
    for name in _NUMBERS:
        if type(content[name]) is not int or content[name] >> 63:
            raise DamagedError(f"the header's {name} is {content[name]!r} (expected 0 to 2^63 - 1)")


def _stacks(found: Any) -> Stacks:
    """Convert a block's stacks from JSON. Raises ``ValueError`` or ``TypeError``."""
    if not isinstance(found, dict):
        raise DamagedError("a block's stacks are not an object")
    return {int(number): tuple(map(str, frames)) for number, frames in found.items()}


def _check_records(records: bytes, version: int) -> None:
    """Reject records that consumers can't decode. Raises ``DamagedError``."""
    for name, known in {**_KNOWN, "version": {version}}.items():
        if unknown := set(records[events.offset_of(name) :: events.RECORD.size]) - known:
            raise DamagedError(f"an event record has the unknown {name} {min(unknown)}")
