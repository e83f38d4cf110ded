# SPDX-License-Identifier: Apache-2.0
"""Small BPF programs without a compiler: instructions by name, loaded and run by bpf(2).

For what must work where BCC is missing. Instruction set: Documentation/bpf/standardization/
instruction-set.rst; helpers by their numbers in include/uapi/linux/bpf.h.
"""

import mmap
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from probes.bpf.load import RAW_TRACEPOINT, create_map, load_program
from probes.bpf.object_code import MapSpec
from probes.bpf.syscalls import bpf

MAP_LOOKUP, PROBE_READ_KERNEL = 1, 113
"""Helpers; the second came with Linux 5.5."""

_TEST_RUN = 10
_ARRAY, _MMAPABLE = 2, 1 << 10
_PSEUDO_MAP_FD = 1

_RUN_ATTRIBUTES = struct.Struct("=II72x")


class Instruction(NamedTuple):
    """One instruction of 8 bytes; a jump's ``target`` is a label instead of ``off``."""

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    target: str = ""


Line = Instruction | str
"""An instruction, or a label for the one that follows."""


def move(dst: int, src: int) -> Instruction:
    """Copy a register."""
    return Instruction(0xBF, dst, src)


def move_number(dst: int, number: int) -> Instruction:
    """Set a register to a signed number of 32 bits."""
    return Instruction(0xB7, dst, imm=number)


def add(dst: int, src: int) -> Instruction:
    """Add a register."""
    return Instruction(0x0F, dst, src)


def add_number(dst: int, number: int) -> Instruction:
    """Add a signed number of 32 bits."""
    return Instruction(0x07, dst, imm=number)


def multiply(dst: int, number: int) -> Instruction:
    """Multiply by a number of 32 bits."""
    return Instruction(0x27, dst, imm=number)


def read(dst: int, src: int, off: int = 0) -> Instruction:
    """Read 8 bytes at ``src`` + ``off``."""
    return Instruction(0x79, dst, src, off)


def write(dst: int, src: int, off: int = 0) -> Instruction:
    """Write a register's 8 bytes at ``dst`` + ``off``."""
    return Instruction(0x7B, dst, src, off)


def write_number(dst: int, number: int, off: int = 0) -> Instruction:
    """Write 4 bytes at ``dst`` + ``off``."""
    return Instruction(0x62, dst, off=off, imm=number)


def call(helper: int) -> Instruction:
    """Call a helper."""
    return Instruction(0x85, imm=helper)


def jump(target: str) -> Instruction:
    """Go to a label."""
    return Instruction(0x05, target=target)


def jump_if_equal(dst: int, src: int, target: str) -> Instruction:
    """Jump if two registers are equal."""
    return Instruction(0x1D, dst, src, target=target)


def jump_unless_zero(dst: int, target: str) -> Instruction:
    """Jump if a register is not 0."""
    return Instruction(0x55, dst, target=target)


def jump_if_less(dst: int, number: int, target: str) -> Instruction:
    """Jump if a register is below a number, unsigned."""
    return Instruction(0xA5, dst, imm=number, target=target)


def jump_if_greater(dst: int, number: int, target: str) -> Instruction:
    """Jump if a register is above a number, unsigned."""
    return Instruction(0x25, dst, imm=number, target=target)


def leave() -> Instruction:
    """Return r0."""
    return Instruction(0x95)


def assemble(lines: Sequence[Line]) -> bytes:
    """Encode a program; ``KeyError`` for a jump to a label that is missing."""
    labels: dict[str, int] = {}
    count = 0
    for line in lines:
        if isinstance(line, str):
            labels[line] = count
        else:
            count += 1
    code = bytearray()
    for number, line in enumerate(line for line in lines if not isinstance(line, str)):
        off = labels[line.target] - number - 1 if line.target else line.off
        code += struct.pack("=BBhi", line.code, line.src << 4 | line.dst, off, line.imm)
    return bytes(code)


class Shared:
    """Memory that a program and this process share: an array map of one element."""

    def __init__(self, size: int) -> None:
        """Make ``size`` bytes, all 0. Raises ``OSError``."""
        self.descriptor = create_map(MapSpec(_ARRAY, 4, size, 1, _MMAPABLE), "shared")
        try:
            self.memory = mmap.mmap(self.descriptor, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Give the memory back."""
        self.memory.close()
        os.close(self.descriptor)

    def into(self, register: int) -> list[Line]:
        """Instructions that put its address into ``register`` (6 to 9), or return 0."""
        return [
            Instruction(0x18, 1, _PSEUDO_MAP_FD, imm=self.descriptor),  # 16 bytes long
            Instruction(0),
            write_number(10, 0, -4),
            move(2, 10),
            add_number(2, -4),
            call(MAP_LOOKUP),
            jump_unless_zero(0, "found"),
            leave(),
            "found",
            move(register, 0),
        ]


class Program:
    """A program that runs when it is told to, and is attached to nothing."""

    def __init__(self, lines: Sequence[Line]) -> None:
        """Load it as a raw tracepoint's, which may read kernel memory. Raises ``OSError``."""
        self.descriptor = load_program(RAW_TRACEPOINT, assemble(lines), "on_request")

    def run(self) -> None:
        """Run it once (bpf_prog_test_run_raw_tp, Linux 5.10). Raises ``OSError``."""
        bpf(_TEST_RUN, _RUN_ATTRIBUTES.pack(self.descriptor, 0))

    def close(self) -> None:
        """Unload it."""
        os.close(self.descriptor)
