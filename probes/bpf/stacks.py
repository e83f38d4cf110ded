# SPDX-License-Identifier: Apache-2.0
"""Reader of the map of kernel stacks. Its entries never change, so each is read once."""

import ctypes
import struct
from collections.abc import Callable

from probes.bpf.syscalls import bpf

_LOOKUP = 1  # BPF_MAP_LOOKUP_ELEM
_FRAMES = 64
"""Frames per entry: those of struct hvo_stack (hvo_stream.h)."""
_ATTRIBUTES = struct.Struct("<IxxxxQQQ")
"""union bpf_attr of the command: descriptor, addresses of key and value, flags."""

Lookup = Callable[[int], tuple[int, ...]]


def lookup_in(descriptor: int) -> Lookup:
    """Return a function that reads the addresses of an entry, innermost first.

    It raises ``OSError``, as for an entry that does not exist.
    """

    def lookup(number: int) -> tuple[int, ...]:
        key, value = ctypes.c_uint32(number), (ctypes.c_uint64 * _FRAMES)()
        bpf(
            _LOOKUP,
            _ATTRIBUTES.pack(descriptor, ctypes.addressof(key), ctypes.addressof(value), 0),
        )
        return tuple(address for address in value if address)

    return lookup
