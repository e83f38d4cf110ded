# SPDX-License-Identifier: Apache-2.0
"""Reader of BTF: struct sizes, member offsets and function prototypes that the probes need.

Format: Documentation/bpf/btf.rst. A kernel has about 150,000 types, so indexing records only where
each type begins; types are decoded on request.
"""

import struct
from array import array
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_COMMON = struct.Struct("<III")

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNC, _FUNC_PROTO = 1, 2, 3, 4, 5, 6, 12, 13
_QUALIFIERS = frozenset({8, 9, 10, 11, 18})
"""TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG: aliases of the type that they refer to."""
_MAX_DEPTH = 32  # MAX_RESOLVE_DEPTH of kernel/bpf/btf.c
_COMMON_WORDS = 3  # name, info, size or type
# 32-bit words after the common three: (fixed, per element of vlen), by kind.
_TAIL: Mapping[int, tuple[int, int]] = {
    _INT: (1, 0),
    _PTR: (0, 0),
    _ARRAY: (3, 0),
    _STRUCT: (0, 3),
    _UNION: (0, 3),
    _ENUM: (0, 2),
    7: (0, 0),  # FWD
    8: (0, 0),  # TYPEDEF
    9: (0, 0),  # VOLATILE
    10: (0, 0),  # CONST
    11: (0, 0),  # RESTRICT
    _FUNC: (0, 0),
    _FUNC_PROTO: (0, 2),
    14: (1, 0),  # VAR
    15: (0, 3),  # DATASEC
    16: (0, 0),  # FLOAT
    17: (1, 0),  # DECL_TAG
    18: (0, 0),  # TYPE_TAG
    19: (0, 3),  # ENUM64
}


class _Member(NamedTuple):
    name_offset: int
    type_id: int
    offset: int


class Prototype(NamedTuple):
    """Parameter types of a function, and whether it returns a value."""

    parameters: tuple[str, ...]
    """``int`` for an integer of any size, ``*name`` for a pointer to a struct, ``*`` for another
    pointer, ``?`` for any other type."""
    returns: bool
    """False for void."""


class Btf:
    """The structs, arrays and functions of one BTF blob.

    A type that refers to one that does not exist, or to itself, counts as not described.
    """

    def __init__(self, blob: bytes) -> None:
        """Index ``blob``. Raises ``ValueError`` if it is not BTF or is truncated."""
        self._begins = array("I", (0,))
        """Word at which each type id begins; id 0 is void."""
        self._structs: dict[int, int] = {}
        self._functions: dict[int, int] = {}
        """Type ids by offset of the name in the string section; the first of equal names."""
        try:
            magic, version, _, header_size, type_at, type_size, string_at, string_size = (
                _HEADER.unpack_from(blob)
            )
            if magic != _MAGIC or version != 1:
                raise ValueError("not BTF (expected version 1 in this machine's byte order)")
            strings_from = header_size + string_at
            self._strings = blob[strings_from : strings_from + string_size]
            types_from = header_size + type_at
            self._words = memoryview(blob)[types_from : types_from + type_size].cast("I")
            if self._words.nbytes != type_size:
                raise IndexError("the type section is truncated")
            self._index()
        except (struct.error, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"broken BTF: {error!r}") from error

    @classmethod
    def read(cls, path: Path) -> "Btf":
        """Read a file such as /sys/kernel/btf/vmlinux. Raises ``OSError`` or ``ValueError``."""
        return cls(path.read_bytes())

    def size(self, struct_name: str) -> int:
        """sizeof(struct) in bytes. Raises ``KeyError`` if there is no such struct."""
        return self._words[self._begins[self._find(self._structs, struct_name)] + 2]

    def function_id(self, function: str) -> int:
        """Type id of a function. Raises ``KeyError`` if BTF does not describe it."""
        return self._find(self._functions, function)

    def offset(self, struct_name: str, member: str) -> int:
        """offsetof(struct, member) in bytes. Raises ``KeyError`` if there is no such member."""
        return self._member(struct_name, member).offset

    def has(self, struct_name: str, member: str) -> bool:
        """Whether the struct exists and has the member."""
        try:
            self._member(struct_name, member)
        except KeyError:
            return False
        return True

    def length(self, struct_name: str, member: str) -> int:
        """Number of elements of an array member. Raises ``KeyError`` if it does not exist."""
        begin = self._begin(self._member(struct_name, member).type_id)
        if self._kind(begin) != _ARRAY:
            raise KeyError(f"array {member}")
        return self._words[begin + _COMMON_WORDS + 2]

    def enumerator(self, name: str) -> int:
        """Value of an enumerator of whichever enum has it; ``KeyError`` when none has."""
        offsets = frozenset(self._name_offsets(name))
        for begin in self._begins[1:] if offsets else ():
            if self._kind(begin) != _ENUM:
                continue
            for number in range(self._words[begin + 1] & 0xFFFF):
                at = begin + _COMMON_WORDS + 2 * number
                if self._words[at] in offsets:
                    return self._words[at + 1]
        raise KeyError(name)

    def prototype(self, function: str) -> Prototype:
        """Prototype of a function. Raises ``KeyError`` if BTF does not describe it."""
        begin = self._begins[self._find(self._functions, function)]
        prototype = self._begin(self._words[begin + 2])
        if self._kind(prototype) != _FUNC_PROTO:
            raise KeyError(function)
        first = prototype + _COMMON_WORDS
        count = self._words[prototype + 1] & 0xFFFF
        types = (self._words[first + 2 * number + 1] for number in range(count))
        return Prototype(tuple(map(self._described, types)), self._words[prototype + 2] != 0)

    def _index(self) -> None:
        words, begins = self._words, self._begins
        at, end = 0, len(words)
        while at < end:
            info = words[at + 1]
            kind = info >> 24 & 0x1F
            if kind in (_STRUCT, _UNION):
                self._structs.setdefault(words[at], len(begins))
            elif kind == _FUNC:
                self._functions.setdefault(words[at], len(begins))
            fixed, each = _TAIL[kind]
            begins.append(at)
            at += _COMMON_WORDS + fixed + each * (info & 0xFFFF)
        if at != end:
            raise IndexError("the last type is truncated")

    def _described(self, type_id: int) -> str:
        type_id = self._unqualified(type_id)
        if not type_id:
            return "?"  # the rest of a variable list
        begin = self._begin(type_id)
        if self._kind(begin) == _INT:
            return "int"
        if self._kind(begin) != _PTR:
            return "?"
        target = self._unqualified(self._words[begin + 2])
        return f"*{self._name(self._begin(target))}" if self._is_compound(target) else "*"

    def _unqualified(self, type_id: int) -> int:
        """Resolve typedefs and qualifiers; 0 is void."""
        for _ in range(_MAX_DEPTH):
            if not type_id or self._kind(begin := self._begin(type_id)) not in _QUALIFIERS:
                return type_id
            type_id = self._words[begin + 2]
        raise KeyError(f"type {type_id}")

    def _name(self, begin: int) -> str:
        at = self._words[begin]
        end = self._strings.find(b"\0", at)
        return self._strings[at : end if end >= 0 else None].decode("ascii", "replace")

    def _begin(self, type_id: int) -> int:
        if type_id >= len(self._begins):
            raise KeyError(f"type {type_id}")
        return self._begins[type_id]

    def _kind(self, begin: int) -> int:
        return self._words[begin + 1] >> 24 & 0x1F

    def _find(self, types: Mapping[int, int], name: str) -> int:
        found = (types[offset] for offset in self._name_offsets(name) if offset in types)
        type_id = next(found, None)
        if type_id is None:
            raise KeyError(name)
        return type_id

    def _name_offsets(self, name: str) -> Iterator[int]:
        """Offsets of ``name`` in the string section."""
        wanted = b"\0%b\0" % name.encode()
        offset = self._strings.find(wanted)
        while offset >= 0:
            yield offset + 1
            offset = self._strings.find(wanted, offset + 1)

    def _member(self, struct_name: str, name: str) -> _Member:
        type_id = self._find(self._structs, struct_name)
        try:
            return self._member_of(type_id, frozenset(self._name_offsets(name)))
        except KeyError:
            raise KeyError(f"{struct_name}.{name}") from None

    def _member_of(self, type_id: int, names: Collection[int]) -> _Member:
        """The member with one of these names, in the struct or the anonymous ones within it."""
        waiting, seen = [(type_id, 0)], set()
        while waiting:
            type_id, at = waiting.pop()
            if type_id in seen:
                continue
            seen.add(type_id)
            for member in self._members(self._begin(type_id)):
                placed = member._replace(offset=at + member.offset)
                if member.name_offset in names:
                    return placed
                if not member.name_offset and self._is_compound(member.type_id):
                    waiting.append((member.type_id, placed.offset))
        raise KeyError(type_id)

    def _is_compound(self, type_id: int) -> bool:
        return type_id != 0 and self._kind(self._begin(type_id)) in (_STRUCT, _UNION)

    def _members(self, begin: int) -> Iterator[_Member]:
        info = self._words[begin + 1]
        # With the kind flag set, the top byte of the offset is the width of a bit field.
        mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for number in range(info & 0xFFFF):
            at = begin + _COMMON_WORDS + 3 * number
            name_offset, type_id, bits = self._words[at : at + 3]
            yield _Member(name_offset, type_id, (bits & mask) // 8)


class Struct(NamedTuple):
    """A struct as ``read_structs`` sees it."""

    size: int
    """sizeof, bytes."""
    members: frozenset[str]
    """Names, without those within anonymous structs."""


def struct_sizes(path: Path, names: Collection[str]) -> Mapping[str, int]:
    """sizeof in bytes of the named structs that exist; empty if the file can't be read.

    Raises ``ValueError`` if the file is not BTF.
    """
    structs = read_structs(path, names) or {}
    return {name: found.size for name, found in structs.items()}


def read_structs(path: Path, names: Collection[str]) -> Mapping[str, Struct] | None:
    """Those of the named structs that exist; None if the file can't be read.

    Uses little memory: unlike ``Btf`` it builds no index, and it stops at the last struct found.
    Raises ``ValueError`` if the file is not BTF.
    """
    try:
        blob = path.read_bytes()
    except OSError:
        return None
    try:
        return _scan(blob, names)
    except (struct.error, KeyError, ValueError) as error:
        raise ValueError(f"{path}: broken BTF: {error!r}") from error


def _scan(blob: bytes, names: Collection[str]) -> Mapping[str, Struct]:
    magic, _, _, header, type_at, type_size, string_at, string_size = _HEADER.unpack_from(blob)
    if magic != _MAGIC:
        raise KeyError("magic")
    strings = header + string_at
    wanted = {}
    for name in names:
        at = blob.find(b"\0%b\0" % name.encode(), strings, strings + string_size)
        if at >= 0:
            wanted[at + 1 - strings] = name
    found: dict[str, Struct] = {}
    at, end = header + type_at, header + type_at + type_size
    while at < end and len(found) < len(wanted):
        name_offset, info, size = _COMMON.unpack_from(blob, at)
        kind = info >> 24 & 0x1F
        if kind == _STRUCT and name_offset in wanted:
            members = (
                struct.unpack_from("<I", blob, at + 4 * (_COMMON_WORDS + 3 * number))[0]
                for number in range(info & 0xFFFF)
            )
            texts = frozenset(_text(blob, strings + offset) for offset in members)
            found.setdefault(wanted[name_offset], Struct(size, texts))
        fixed, each = _TAIL[kind]
        at += 4 * (_COMMON_WORDS + fixed + each * (info & 0xFFFF))
    return found


def _text(blob: bytes, at: int) -> str:
    return blob[at : blob.index(b"\0", at)].decode("ascii", "replace")
