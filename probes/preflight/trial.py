# SPDX-License-Identifier: Apache-2.0
"""Trial load of a BPF program of two instructions, to find out whether probes can be attached.

Capabilities, seccomp filters, security modules and patched kernels all decide this, so the only
reliable test is to try. The program is not attached, and is unloaded at once.
"""

import contextlib
import ctypes
import os
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from probes.bpf import syscalls

Trial = Callable[[int | None], None]
"""``load``, or a replacement in tests."""

_PROG_LOAD = 5
_KPROBE, _TRACING = 2, 26
_FENTRY = 24
"""BPF_PROG_LOAD, BPF_PROG_TYPE_*, BPF_TRACE_FENTRY (include/uapi/linux/bpf.h)."""

# r0 = 0; exit
_CODE = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
_LICENSE = b"GPL"

# union bpf_attr for BPF_PROG_LOAD, up to attach_btf_id.
_ATTRIBUTES = struct.Struct("=IIQQ44xI36xI")


def can_load(machine: str) -> bool:
    """Whether ``load`` supports this architecture."""
    return syscalls.are_known(machine)


def load(function: int | None) -> None:
    """Load a kprobe program, or an fentry program for the function with this BTF type id.

    Raises ``OSError`` with the kernel's error (kernel/bpf/syscall.c, bpf_prog_load).
    """
    try:
        _load(function)
    except PermissionError:
        # Before Linux 5.11 programs and maps count as locked memory, and EPERM also means that its
        # limit is reached. BCC raises the limit in that case.
        with _unlimited_locked_memory():
            _load(function)


def _load(function: int | None) -> None:
    kind, attach = (_KPROBE, 0) if function is None else (_TRACING, _FENTRY)
    code, gpl = ctypes.create_string_buffer(_CODE), ctypes.create_string_buffer(_LICENSE)
    attributes = _ATTRIBUTES.pack(
        kind, 2, ctypes.addressof(code), ctypes.addressof(gpl), attach, function or 0
    )
    os.close(syscalls.bpf(_PROG_LOAD, attributes))


@contextmanager
def _unlimited_locked_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with contextlib.suppress(ValueError, OSError):  # needs CAP_SYS_RESOURCE
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
