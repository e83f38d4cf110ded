# SPDX-License-Identifier: Apache-2.0
"""A block of a trace file: JSON and event records, compressed, with checksums.

A block is a prefix and a zlib stream. Records are stored by column (every record's first byte,
then every second byte...): most columns hardly change, so this takes a quarter of the room and
less time than to compress records as they come.
"""

import json
import struct
import zlib
from typing import Any, NamedTuple

from probes.events import RECORD

PREFIX = struct.Struct("<4sIIIII")
"""Tag, bytes of JSON, records, bytes stored, their CRC-32, the CRC-32 of the fields before."""

MOST_RECORDS = 1 << 20
_MOST_JSON = 1 << 26
FASTEST = 1
"""Of zlib's levels. Higher ones halve the speed to save a tenth of the size."""


class DamagedError(ValueError):
    """Bytes that no writer wrote; the message says what is wrong with them."""


class Prefix(NamedTuple):
    """What the block holds; sizes in bytes."""

    tag: bytes
    json_size: int
    records: int
    stored: int
    crc: int


def pack(
    tag: bytes, content: dict[str, Any], records: bytes = b"", *, level: int = FASTEST
) -> bytes:
    """Make a block of up to ``MOST_RECORDS`` back-to-back records."""
    text = json.dumps(content, separators=(",", ":")).encode()
    stored = zlib.compress(text + to_columns(records), level)
    count = len(records) // RECORD.size
    fields = (tag, len(text), count, len(stored), zlib.crc32(stored))
    own_crc = zlib.crc32(PREFIX.pack(*fields, 0)[:-4])
    return PREFIX.pack(*fields, own_crc) + stored


def unpack_prefix(data: bytes) -> Prefix:
    """Read a prefix. Raises ``DamagedError``."""
    *fields, own_crc = PREFIX.unpack(data)
    prefix = Prefix(*fields)
    if zlib.crc32(data[:-4]) != own_crc:
        raise DamagedError("the checksum of a block's first bytes is wrong")
    if prefix.json_size > _MOST_JSON or prefix.records > MOST_RECORDS:
        raise DamagedError(f"a block of {prefix.records} records is larger than any")
    return prefix


def unpack(prefix: Prefix, stored: bytes) -> tuple[Any, bytes]:
    """Read a block's JSON and its records. Raises ``DamagedError``."""
    if zlib.crc32(stored) != prefix.crc:
        raise DamagedError("a block's checksum is wrong")
    size = prefix.json_size + prefix.records * RECORD.size
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(stored, size + 1)
        content = json.loads(data[: prefix.json_size])
    except (zlib.error, ValueError) as error:
        raise DamagedError(f"a block can't be unpacked ({error})") from error
    if len(data) != size or not unpacker.eof:
        raise DamagedError(f"a block does not unpack to {size} bytes")
    return content, from_columns(memoryview(data)[prefix.json_size :])


def to_columns(records: bytes) -> bytes:
    """Put the records' first bytes together, then their second bytes, and so on."""
    return b"".join([records[byte :: RECORD.size] for byte in range(RECORD.size)])


def from_columns(columns: memoryview) -> bytes:
    """Make records of columns again."""
    count = len(columns) // RECORD.size
    records = bytearray(len(columns))
    for byte in range(RECORD.size):
        records[byte :: RECORD.size] = columns[byte * count : (byte + 1) * count]
    return bytes(records)
