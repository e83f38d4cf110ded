# SPDX-License-Identifier: Apache-2.0
"""The few facts that the probes need of structs and functions, read from BTF, not from headers.

Format: Documentation/bpf/btf.rst. Structs, unions, arrays and functions are kept; everything else
is stepped over.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_ARRAY = struct.Struct("<III")
_MEMBER = struct.Struct("<III")

_KIND_ARRAY, _KIND_STRUCT, _KIND_UNION, _KIND_FUNC, _KIND_PROTO = 3, 4, 5, 12, 13
# Bytes behind the common 12: (fixed, per element of vlen), by kind.
_TAIL = {
    1: (4, 0),  # INT
    2: (0, 0),  # PTR
    _KIND_ARRAY: (12, 0),
    _KIND_STRUCT: (0, 12),
    _KIND_UNION: (0, 12),
    6: (0, 8),  # ENUM
    7: (0, 0),  # FWD
    8: (0, 0),  # TYPEDEF
    9: (0, 0),  # VOLATILE
    10: (0, 0),  # CONST
    11: (0, 0),  # RESTRICT
    _KIND_FUNC: (0, 0),
    _KIND_PROTO: (0, 8),
    14: (4, 0),  # VAR
    15: (0, 12),  # DATASEC
    16: (0, 0),  # FLOAT
    17: (4, 0),  # DECL_TAG
    18: (0, 0),  # TYPE_TAG
    19: (0, 12),  # ENUM64
}


@dataclass(frozen=True)
class _Member:
    name: str
    type_id: int
    bit_offset: int


@dataclass(frozen=True)
class _Struct:
    size: int
    members: tuple[_Member, ...]


class Btf:
    """The structs, arrays and functions of one BTF blob."""

    def __init__(self, blob: bytes) -> None:
        """Parse ``blob``; ``ValueError`` when it is not BTF or ends too soon."""
        self._by_name: dict[str, _Struct] = {}
        self._structs: dict[int, _Struct] = {}
        self._array_lengths: dict[int, int] = {}
        self._functions: dict[str, int] = {}
        self._parameters: dict[int, int] = {}
        try:
            self._parse(blob)
        except (struct.error, KeyError, IndexError) as error:
            raise ValueError(f"broken BTF: {error!r}") from error

    @classmethod
    def read(cls, path: Path) -> "Btf":
        """Read a file such as /sys/kernel/btf/vmlinux. Raises ``OSError`` and ``ValueError``."""
        return cls(path.read_bytes())

    def size(self, struct_name: str) -> int:
        """sizeof(struct) in bytes; ``KeyError`` when the kernel has no such struct."""
        return self._by_name[struct_name].size

    def offset(self, struct_name: str, member: str) -> int:
        """offsetof(struct, member) in bytes; ``KeyError`` when there is no such member."""
        return self._find(self._by_name[struct_name], member)[0]

    def length(self, struct_name: str, member: str) -> int:
        """Elements of an array member; ``KeyError`` when there is none of that name."""
        return self._array_lengths[self._find(self._by_name[struct_name], member)[1]]

    def parameters(self, function: str) -> int:
        """How many parameters a function has; ``KeyError`` when BTF does not describe it."""
        return self._parameters[self._functions[function]]

    def _find(self, where: _Struct, name: str) -> tuple[int, int]:
        for member in where.members:
            if member.name == name:
                return member.bit_offset // 8, member.type_id
            if not member.name and member.type_id in self._structs:  # anonymous struct or union
                try:
                    offset, type_id = self._find(self._structs[member.type_id], name)
                except KeyError:
                    continue
                return member.bit_offset // 8 + offset, type_id
        raise KeyError(name)

    def _parse(self, blob: bytes) -> None:
        magic, version, _, header_size, type_at, type_size, string_at, string_size = (
            _HEADER.unpack_from(blob)
        )
        if magic != _MAGIC or version != 1:
            raise ValueError("not BTF of version 1 in this machine's byte order")
        strings = blob[header_size + string_at : header_size + string_at + string_size]
        at, end, type_id = header_size + type_at, header_size + type_at + type_size, 1
        while at < end:
            name_at, info, size = _TYPE.unpack_from(blob, at)
            kind, count, kind_flag = info >> 24 & 0x1F, info & 0xFFFF, info >> 31
            at += _TYPE.size
            if kind == _KIND_ARRAY:
                self._array_lengths[type_id] = _ARRAY.unpack_from(blob, at)[2]
            elif kind in (_KIND_STRUCT, _KIND_UNION):
                name = _string(strings, name_at)
                found = _Struct(size, _members(blob, at, count, kind_flag, strings))
                self._structs[type_id] = found
                if name:
                    self._by_name.setdefault(name, found)
            elif kind == _KIND_FUNC:
                self._functions[_string(strings, name_at)] = size
            elif kind == _KIND_PROTO:
                self._parameters[type_id] = count
            fixed, each = _TAIL[kind]
            at += fixed + each * count
            type_id += 1


def _members(
    blob: bytes, at: int, count: int, kind_flag: int, strings: bytes
) -> tuple[_Member, ...]:
    mask = 0xFFFFFF if kind_flag else 0xFFFFFFFF  # with bit fields, the top byte is their width
    return tuple(
        _Member(_string(strings, name_at), type_id, offset & mask)
        for name_at, type_id, offset in (
            _MEMBER.unpack_from(blob, at + i * _MEMBER.size) for i in range(count)
        )
    )


def _string(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode("ascii", "replace")
