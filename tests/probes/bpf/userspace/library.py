# SPDX-License-Identifier: Apache-2.0
"""The program compiled with the stub and loaded as a library: plays calls, returns map contents."""

import ctypes
import hashlib
import os
import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.probes.bpf.userspace.recorder import Arena, Call
from tests.tools import need

_STUB = Path(__file__).with_name("stub")
STUB_FLAGS = ("-DCONFIG_X86", "-include", str(_STUB / "hvo_stub.h"), "-I", str(_STUB))
"""Compiler flags that include the stub before the source."""
TRAMPOLINE = 0xFFFFFFFF81C0FFEE
"""Address of the kernel's arch_rethook_trampoline or kretprobe_trampoline."""

_ACTION = struct.Struct("<IHHQQ4QQ16s")
_WRITE = 0xFFFFFFFF
_FLAGS = (
    "-shared",
    "-fPIC",
    "-std=gnu11",
    "-fno-strict-aliasing",
    "-Wall",
    "-Werror",
    "-Wno-pointer-sign",
    "-Wno-unused",  # not every source uses all of the stub
)
_RING_BYTES = 64 << 20

What = tuple[str, bool]
"""A kernel function, and whether it is its return."""


class _Map(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_char_p),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("high", ctypes.c_uint32),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("used", ctypes.c_void_p),
        ("next", ctypes.c_void_p),
    )


class _World(ctypes.Structure):
    _fields_ = (
        ("now", ctypes.c_uint64),
        ("task", ctypes.c_uint64),
        ("cpu", ctypes.c_uint32),
        ("comm", ctypes.c_char * 16),
        ("memory", ctypes.c_uint64),
        ("memory_size", ctypes.c_uint64),
        ("trampoline", ctypes.c_uint64),
        ("ring", ctypes.c_void_p),
        ("ring_size", ctypes.c_uint64),
        ("ring_used", ctypes.c_uint64),
        ("wakeups", ctypes.c_uint64),
    )


class _Point(ctypes.Structure):
    _fields_ = (
        ("function", ctypes.c_void_p),
        ("what", ctypes.c_uint32),
        ("fentry", ctypes.c_uint8),
        ("at_return", ctypes.c_uint8),
        ("hooked_return", ctypes.c_uint8),
        ("parameters", ctypes.c_uint8),
    )


class Point(NamedTuple):
    """A function of the library, and the kernel function that it is attached to."""

    name: str
    what: What
    fentry: bool
    hooked_return: bool
    """A kretprobe is attached to the same function."""
    parameters: int


class EncodedCalls(NamedTuple):
    """Calls encoded for ``stub_play``, and the numbers of the functions and their returns."""

    encoded: bytes
    numbers: Mapping[What, int]


class Library:
    """One source, compiled and loaded; ``reset`` clears the maps."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.stub_map.restype = ctypes.POINTER(_Map)
        self.world = _World.in_dll(self._library, "stub_world")
        self.world.trampoline = TRAMPOLINE
        self._ring = _ring()
        self.world.ring = ctypes.addressof(self._ring)

    def reset(self, arena: Arena) -> None:
        """Clear maps and ring; ``arena`` is the only readable kernel memory."""
        self._library.stub_reset()
        self.world.memory, self.world.memory_size = arena.address, arena.SIZE
        self.world.ring_size = _RING_BYTES

    def has_map(self, name: str) -> bool:
        """Whether the source declares a map of this name."""
        return bool(self._library.stub_map(name.encode()))

    def memory(self, name: str) -> memoryview:
        """Return all values of a map, concatenated."""
        found = self._map(name)
        size = found.max_entries * found.value_size
        return memoryview((ctypes.c_char * size).from_address(found.values)).cast("B")

    def limit(self, name: str, entries: int) -> None:
        """Reduce the maximum number of entries of a hash."""
        self._map(name).max_entries = entries

    def records(self) -> bytes:
        """Return the contents of the ring."""
        return ctypes.string_at(self.world.ring, self.world.ring_used)

    def play(self, calls: EncodedCalls, points: Sequence[Point]) -> None:
        """Run ``points`` for the actions of ``calls``."""
        table = (_Point * len(points))(
            *(
                _Point(
                    ctypes.cast(getattr(self._library, point.name), ctypes.c_void_p).value,
                    calls.numbers.get(point.what, _WRITE - 1),
                    point.fentry,
                    point.what[1],
                    point.hooked_return,
                    point.parameters,
                )
                for point in points
            )
        )
        count = ctypes.c_uint64(len(calls.encoded) // _ACTION.size)
        self._library.stub_play(calls.encoded, count, table, ctypes.c_uint64(len(points)))

    def _map(self, name: str) -> _Map:
        found = self._library.stub_map(name.encode())
        assert found, f"the program has no map {name}"
        contents: _Map = found.contents
        return contents


def encode(calls: Iterable[Call]) -> EncodedCalls:
    """Encode ``calls`` for ``Library.play``."""
    numbers: dict[What, int] = {}
    actions = []
    for call in calls:
        for write in call.writes:
            actions.append(_ACTION.pack(_WRITE, 0, 0, 0, 0, *write, 0, 0, b""))
        what = numbers.setdefault((call.symbol, call.at_return), len(numbers))
        task = call.task
        actions.append(
            _ACTION.pack(
                what,
                task.cpu,
                call.dropped | call.tail << 1,
                call.now,
                task.tgid << 32 | task.pid,
                *(*call.arguments, 0, 0, 0, 0)[:4],
                call.result,
                task.comm,
            )
        )
    return EncodedCalls(b"".join(actions), numbers)


class Compiler:
    """Compiles each source once, even if several processes run tests in parallel."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which all processes share, for libraries."""
        self._folder = folder
        self._loaded: dict[Path, Library] = {}

    def library(self, text: str, *flags: str) -> Library:
        """Compile and load ``text``; skips the test if there is no compiler."""
        compiler = need("gcc", "gcc")
        key = hashlib.sha256(repr((text, flags)).encode()).hexdigest()[:32]
        path = self._folder / f"{key}.so"
        if path not in self._loaded:
            if not path.exists():
                new = path.with_suffix(f".{os.getpid()}")
                command = [compiler, *_FLAGS, *STUB_FLAGS, *flags, "-o", str(new), "-x", "c", "-"]
                subprocess.run(command, input=text, text=True, check=True)
                new.rename(path)
            self._loaded[path] = Library(path)
        return self._loaded[path]


@cache
def _ring() -> "ctypes.Array[ctypes.c_char]":
    return (ctypes.c_char * _RING_BYTES)()
