# SPDX-License-Identifier: Apache-2.0
"""Small BPF programs without a compiler: instructions by name, loaded and run by bpf(2).

For what must work where BCC is missing. Instruction set: Documentation/bpf/standardization/
instruction-set.rst; helpers by their numbers in include/uapi/linux/bpf.h.
"""

import ctypes
import mmap
import os
import struct
from collections.abc import Iterable

from probes.bpf.syscalls import bpf

MAP_LOOKUP, MAP_UPDATE, PROBE_READ_KERNEL = 1, 2, 113
"""Helpers; the last came with Linux 5.5."""

_MAP_CREATE, _PROG_LOAD, _TEST_RUN = 0, 5, 10
_ARRAY, _MMAPABLE = 2, 1 << 10
_RAW_TRACEPOINT = 17

_LICENSE = b"GPL"
_PSEUDO_MAP_FD = 1

_LOAD_ATTRIBUTES = struct.Struct("=IIQQIIQII")
"""prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags."""
_RUN_ATTRIBUTES = struct.Struct("=II72x")


def _encode(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def move(dst: int, src: int) -> bytes:
    """Copy a register."""
    return _encode(0xBF, dst, src)


def move_number(dst: int, number: int) -> bytes:
    """Set a register to a number of 32 bits, sign-extended."""
    return _encode(0xB7, dst, imm=number)


def add(dst: int, src: int) -> bytes:
    """Add a register."""
    return _encode(0x0F, dst, src)


def add_number(dst: int, number: int) -> bytes:
    """Add a number of 32 bits."""
    return _encode(0x07, dst, imm=number)


def multiply(dst: int, number: int) -> bytes:
    """Multiply by a number of 32 bits."""
    return _encode(0x27, dst, imm=number)


def read(dst: int, src: int, off: int = 0) -> bytes:
    """Read 8 bytes at ``src`` + ``off``."""
    return _encode(0x79, dst, src, off)


def write(dst: int, src: int, off: int = 0) -> bytes:
    """Write a register's 8 bytes at ``dst`` + ``off``."""
    return _encode(0x7B, dst, src, off)


def write_number(dst: int, number: int, off: int = 0) -> bytes:
    """Write 4 bytes at ``dst`` + ``off``."""
    return _encode(0x62, dst, off=off, imm=number)


def map_of(dst: int, descriptor: int) -> bytes:
    """Set a register to a map; two instructions."""
    return _encode(0x18, dst, _PSEUDO_MAP_FD, imm=descriptor) + _encode(0)


def call(helper: int) -> bytes:
    """Call a helper."""
    return _encode(0x85, imm=helper)


def jump(off: int) -> bytes:
    """Skip ``off`` instructions; negative: go back."""
    return _encode(0x05, off=off)


def jump_if_equal(dst: int, src: int, off: int) -> bytes:
    """Jump if two registers are equal."""
    return _encode(0x1D, dst, src, off)


def jump_if_zero(dst: int, off: int) -> bytes:
    """Jump if a register is 0."""
    return _encode(0x15, dst, off=off)


def jump_unless_zero(dst: int, off: int) -> bytes:
    """Jump if a register is not 0."""
    return _encode(0x55, dst, off=off)


def jump_if_less(dst: int, number: int, off: int) -> bytes:
    """Jump if a register is below a number, unsigned."""
    return _encode(0xA5, dst, off=off, imm=number)


def leave() -> bytes:
    """Return r0."""
    return _encode(0x95)


class Shared:
    """Memory that a program and this process share: an array map of one element."""

    def __init__(self, size: int) -> None:
        """``size`` bytes, all 0. Raises ``OSError``."""
        flags = struct.pack("=IIIII", _ARRAY, 4, size, 1, _MMAPABLE)
        self.descriptor = bpf(_MAP_CREATE, flags)
        try:
            self.memory = mmap.mmap(self.descriptor, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Give the memory back."""
        self.memory.close()
        os.close(self.descriptor)

    def into(self, register: int) -> list[bytes]:
        """Instructions that put its address into ``register`` (6 to 9), or return 0."""
        return [
            map_of(1, self.descriptor),
            write_number(10, 0, -4),
            move(2, 10),
            add_number(2, -4),
            call(MAP_LOOKUP),
            jump_unless_zero(0, 1),
            leave(),
            move(register, 0),
        ]


class Program:
    """A program that runs when it is told to, attached to nothing."""

    def __init__(self, instructions: Iterable[bytes]) -> None:
        """Load it as a raw tracepoint's (it may read kernel memory). Raises ``OSError``."""
        code = b"".join(instructions)
        text, license_ = ctypes.create_string_buffer(code), ctypes.create_string_buffer(_LICENSE)
        addresses = ctypes.addressof(text), ctypes.addressof(license_)
        count = len(code) // 8
        self.descriptor = bpf(
            _PROG_LOAD, _LOAD_ATTRIBUTES.pack(_RAW_TRACEPOINT, count, *addresses, 0, 0, 0, 0, 0)
        )

    def run(self) -> None:
        """Run it once (bpf_prog_test_run_raw_tp, Linux 5.10). Raises ``OSError``."""
        bpf(_TEST_RUN, _RUN_ATTRIBUTES.pack(self.descriptor, 0))

    def close(self) -> None:
        """Let it go."""
        os.close(self.descriptor)
