# SPDX-License-Identifier: Apache-2.0
"""A block of a trace file: JSON and event records, compressed, with checksums.

A block is a prefix and a zlib stream. Records are stored by column (the first byte of every record,
then the second bytes, and so on). Most columns hardly change, so this takes a quarter of the space,
and less time, than compressing the records in order.
"""

import json
import struct
import zlib
from typing import Any, NamedTuple

from probes.events import RECORD

PREFIX = struct.Struct("<4sIIIII")
"""Tag, bytes of JSON, records, bytes stored, their CRC-32, CRC-32 of the preceding fields."""

MAX_RECORDS = 1 << 20
_MAX_JSON = 1 << 26
_SLACK = 1024
"""Bytes that zlib may add to what does not get smaller, and more."""
FASTEST = 1
"""zlib level; higher levels halve the speed and save a tenth of the size."""


class DamagedError(ValueError):
    """A block is damaged; the message describes how."""


class Prefix(NamedTuple):
    """Prefix of a block; sizes in bytes."""

    tag: bytes
    json_size: int
    records: int
    stored: int
    crc: int

    @property
    def size(self) -> int:
        """JSON and records, before compression."""
        return self.json_size + self.records * RECORD.size


def pack(
    tag: bytes, content: dict[str, Any], records: bytes = b"", *, level: int = FASTEST
) -> bytes:
    """Create a block of up to ``MAX_RECORDS`` back-to-back records."""
    text = json.dumps(content, separators=(",", ":")).encode()
    stored = zlib.compress(text + to_columns(records), level)
    count = len(records) // RECORD.size
    fields = (tag, len(text), count, len(stored), zlib.crc32(stored))
    own_crc = zlib.crc32(PREFIX.pack(*fields, 0)[:-4])
    return PREFIX.pack(*fields, own_crc) + stored


def unpack_prefix(data: bytes) -> Prefix:
    """Decode a prefix. Raises ``DamagedError``."""
    *fields, own_crc = PREFIX.unpack(data)
    prefix = Prefix(*fields)
    if zlib.crc32(data[:-4]) != own_crc:
        raise DamagedError("a block's prefix has a wrong checksum")
    if prefix.json_size > _MAX_JSON or prefix.records > MAX_RECORDS:
        raise DamagedError(
            f"a block has {prefix.records} records and {prefix.json_size} bytes of JSON "
            f"(expected at most {MAX_RECORDS} and {_MAX_JSON})"
        )
    if prefix.stored > 2 * prefix.size + _SLACK:
        raise DamagedError(f"a block of {prefix.size} bytes is stored in {prefix.stored}")
    return prefix


def unpack(prefix: Prefix, stored: bytes) -> tuple[Any, bytes]:
    """Decode a block's JSON and records. Raises ``DamagedError``."""
    if zlib.crc32(stored) != prefix.crc:
        raise DamagedError("a block has a wrong checksum")
    size = prefix.size
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(stored, size + 1)
        content = json.loads(data[: prefix.json_size])
    except RecursionError as error:
        raise DamagedError("a block's JSON is nested too deeply") from error
    except (zlib.error, ValueError) as error:
        raise DamagedError(f"a block can't be decompressed ({error})") from error
    if len(data) != size or not unpacker.eof:
        raise DamagedError(f"a block does not decompress to {size} bytes")
    return content, from_columns(memoryview(data)[prefix.json_size :])


def to_columns(records: bytes) -> bytes:
    """Convert records to columns: all first bytes, then all second bytes, and so on."""
    return b"".join([records[byte :: RECORD.size] for byte in range(RECORD.size)])


def from_columns(columns: memoryview) -> bytes:
    """Convert columns back to records."""
    count = len(columns) // RECORD.size
    records = bytearray(len(columns))
    for byte in range(RECORD.size):
        records[byte :: RECORD.size] = columns[byte * count : (byte + 1) * count]
    return bytes(records)
