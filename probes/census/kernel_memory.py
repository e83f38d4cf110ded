# SPDX-License-Identifier: Apache-2.0
"""Read kernel memory by two BPF programs that are attached to nothing.

It takes CAP_BPF and CAP_PERFMON. A bad address is an error, never a fault
(copy_from_kernel_nofault).
"""

import struct
from collections.abc import Iterator

from probes.bpf import assembly as asm
from probes.bpf.assembly import Line, Program, Shared

_BYTES_AT_ONCE = 4096
_ELEMENTS_AT_ONCE = 256
_HEADER = struct.Struct("=QQQQ")
_MORE, _DONE, _FAULT = range(3)


class KernelFaultError(Exception):
    """An address is not mapped: an element left its list while it was read."""


class KernelMemory:
    """Kernel memory, and the lists of one kind of element in it."""

    def __init__(self, element_bytes: int, link_offset: int) -> None:
        """Elements of so many bytes are linked by a ``list_head`` at ``link_offset``.

        Raises ``OSError``.
        """
        self._element_bytes = -(-element_bytes // 8) * 8
        self._link_offset = link_offset
        size = _HEADER.size + max(_BYTES_AT_ONCE, _ELEMENTS_AT_ONCE * self._element_bytes)
        self._shared = Shared(size)
        self._programs: list[Program] = []
        try:
            self._programs.append(Program(self._copy()))
            self._programs.append(Program(self._walk()))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unload the programs."""
        for program in self._programs:
            program.close()
        self._shared.close()

    def read(self, address: int, size: int) -> bytes:
        """Copy ``size`` bytes. Raises ``KernelFaultError`` and ``OSError``."""
        found = bytearray()
        while len(found) < size:
            part = min(size - len(found), _BYTES_AT_ONCE)
            self._run(0, address + len(found), part)
            found += self._shared.memory[_HEADER.size : _HEADER.size + part]
        return bytes(found)

    def walk(self, head: int) -> Iterator[bytes]:
        """Blocks of whole elements of the list at ``head``, in order; none if it is empty.

        Raises ``KernelFaultError`` and ``OSError``.
        """
        (first,) = struct.unpack("=Q", self.read(head, 8))
        address, status = first - self._link_offset, _MORE if first != head else _DONE
        while status == _MORE:
            address, count, status = self._run(1, address, head)
            yield self._shared.memory[_HEADER.size : _HEADER.size + count * self._element_bytes]

    def _run(self, program: int, first: int, second: int) -> tuple[int, int, int]:
        _HEADER.pack_into(self._shared.memory, 0, first, second, 0, _FAULT)
        self._programs[program].run()
        address, _, count, status = _HEADER.unpack_from(self._shared.memory)
        if status == _FAULT:
            raise KernelFaultError(f"kernel memory at {address:#x} can't be read")
        return address, count, status

    def _copy(self) -> list[Line]:
        """Header: address, bytes, -, status; then the bytes."""
        return [
            *self._shared.into(7),
            asm.read(2, 7, 8),
            asm.jump_if_greater(2, _BYTES_AT_ONCE, "end"),
            asm.read(3, 7),
            asm.move(1, 7),
            asm.add_number(1, _HEADER.size),
            asm.call(asm.PROBE_READ_KERNEL),
            asm.jump_unless_zero(0, "end"),
            asm.move_number(1, _DONE),
            asm.write(7, 1, 24),
            "end",
            asm.move_number(0, 0),
            asm.leave(),
        ]

    def _walk(self) -> list[Line]:
        """Header: address of the first element and of the next, list, elements, status."""
        return [
            *self._shared.into(7),
            asm.read(6, 7),
            asm.move_number(9, 0),
            "element",
            asm.move(8, 9),
            asm.multiply(8, self._element_bytes),
            asm.add(8, 7),
            asm.add_number(8, _HEADER.size),
            asm.move(1, 8),
            asm.move_number(2, self._element_bytes),
            asm.move(3, 6),
            asm.call(asm.PROBE_READ_KERNEL),
            asm.jump_unless_zero(0, "end"),
            asm.add_number(9, 1),
            asm.read(6, 8, self._link_offset),
            asm.read(1, 7, 8),
            asm.jump_if_equal(6, 1, "done"),
            asm.add_number(6, -self._link_offset),
            asm.jump_if_less(9, _ELEMENTS_AT_ONCE, "element"),
            asm.write(7, 6, 0),
            asm.move_number(1, _MORE),
            asm.jump("status"),
            "done",
            asm.move_number(1, _DONE),
            "status",
            asm.write(7, 9, 16),
            asm.write(7, 1, 24),
            "end",
            asm.move_number(0, 0),
            asm.leave(),
        ]
