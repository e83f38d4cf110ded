# SPDX-License-Identifier: Apache-2.0
"""System calls bpf(2) and perf_event_open(2), which the C library does not wrap."""

import ctypes
import errno
import os
import platform
from collections.abc import Mapping
from typing import NamedTuple


class _Numbers(NamedTuple):
    perf_event_open: int
    bpf: int


_GENERIC = _Numbers(241, 280)  # include/uapi/asm-generic/unistd.h
_NUMBERS: Mapping[str, _Numbers] = {
    "x86_64": _Numbers(298, 321),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "s390x": _Numbers(331, 351),
    "ppc64le": _Numbers(319, 361),
}

_FD_CLOEXEC = 8  # PERF_FLAG_FD_CLOEXEC (include/uapi/linux/perf_event.h)
_ALL_TASKS = -1
_CPU = 0  # a kprobe fires on every CPU, independent of this argument


def are_known(machine: str) -> bool:
    """Whether the system call numbers of an architecture (uname -m) are known."""
    return machine in _NUMBERS


def bpf(command: int, attributes: bytes) -> int:
    """Call bpf(2) with a union bpf_attr. Raises ``OSError``."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _call(_numbers().bpf, command, ctypes.addressof(buffer), len(attributes))


def perf_event_open(attributes: bytes) -> int:
    """Open a system-wide perf event from a struct perf_event_attr. Raises ``OSError``."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    address = ctypes.addressof(buffer)
    return _call(_numbers().perf_event_open, address, _ALL_TASKS, _CPU, -1, _FD_CLOEXEC)


def _numbers() -> _Numbers:
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"no system call numbers for {machine}")
    return _NUMBERS[machine]


def _call(number: int, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(*map(ctypes.c_long, (number, *arguments))))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
