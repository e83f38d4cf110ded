# SPDX-License-Identifier: Apache-2.0
"""Load a program of two instructions, and let it go: whether the kernel takes what attaching needs.

Capabilities, seccomp filters, security modules and kernels with rules of their own all have a say;
only the kernel knows what comes of it. Nothing is attached, nothing stays.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Mapping

Trial = Callable[[int | None], None]
"""``load``, or what a test has in its place."""

# Of bpf(2), which the C library does not wrap: arch/*/entry/syscalls, asm-generic/unistd.h.
_SYSCALL: Mapping[str, int] = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "s390x": 351,
    "ppc64le": 361,
}
_PROG_LOAD = 5
_KPROBE, _TRACING = 2, 26
_FENTRY = 24
"""BPF_PROG_LOAD, BPF_PROG_TYPE_*, BPF_TRACE_FENTRY (include/uapi/linux/bpf.h)."""

# r0 = 0; exit
_CODE = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
_LICENCE = b"GPL"

# union bpf_attr for BPF_PROG_LOAD, up to attach_btf_id.
_ATTRIBUTES = struct.Struct("=IIQQ44xI36xI")


def can_load(machine: str) -> bool:
    """Whether ``load`` knows this kind of machine."""
    return machine in _SYSCALL


def load(function: int | None, machine: str | None = None) -> None:
    """Load a program for a kprobe, or for fentry on the kernel function of that BTF type id.

    Raises ``OSError`` with what the kernel said (kernel/bpf/syscall.c, bpf_prog_load).
    """
    kind, attach = (_KPROBE, 0) if function is None else (_TRACING, _FENTRY)
    code, licence = ctypes.create_string_buffer(_CODE), ctypes.create_string_buffer(_LICENCE)
    attributes = _ATTRIBUTES.pack(
        kind, 2, ctypes.addressof(code), ctypes.addressof(licence), attach, function or 0
    )
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(
        ctypes.c_long(_SYSCALL[machine or os.uname().machine]),
        ctypes.c_long(_PROG_LOAD),
        ctypes.c_char_p(attributes),
        ctypes.c_long(len(attributes)),
    )
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.close(descriptor)
