# SPDX-License-Identifier: Apache-2.0
"""A BPF program on a kprobe, held by a link that tells how many hits the kernel dropped.

perf_event_open(2) makes the probe and bpf(2) the link (Linux 5.15). Both are called as they are:
BCC's library makes no links, and the reader is a daemon that loads no library.
"""

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Mapping
from pathlib import Path
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

# include/uapi/linux/perf_event.h
_ATTR_SIZE_VER1 = 72
_RETPROBE = 1  # bit 0 of config (format/retprobe of the PMU)
_FD_CLOEXEC = 8
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408
_ALL_TASKS, _ANY_CPU_IS_THIS_ONE = -1, 0  # a kprobe fires on every CPU, whichever is named

# include/uapi/linux/bpf.h
_OBJ_GET_INFO_BY_FD, _LINK_CREATE = 15, 28
_ATTACH_PERF_EVENT = 41
_LINK_INFO_SIZE = 64
_LINK_INFO_MISSED = 48  # perf_event.kprobe.missed
_UNTOUCHED = 2**64 - 1


def attach(program: int, symbol: str, *, at_return: bool, pmu: Path) -> int:
    """Attach a loaded program; the descriptor of its link, or of the perf event before Linux 5.15.

    Closing it removes the probe. ``pmu`` is the folder of the kprobe PMU
    (/sys/bus/event_source/devices/kprobe). Raises ``OSError``.
    """
    event = _open_event(int((pmu / "type").read_text()), symbol, at_return)
    try:
        link = _link(program, event)
    except OSError:  # EINVAL where the kernel knows no such links
        try:
            fcntl.ioctl(event, _IOC_SET_BPF, program)
            fcntl.ioctl(event, _IOC_ENABLE, 0)
        except OSError:
            os.close(event)
            raise
        return event
    try:
        fcntl.ioctl(event, _IOC_ENABLE, 0)
    except OSError:
        os.close(link)
        raise
    finally:
        os.close(event)  # the link keeps it
    return link


def missed(link: int) -> int | None:
    """Hits of a probe that the kernel dropped; None where it does not tell (before Linux 6.7).

    At an entry those inside another kprobe; at a return also those for which there was no room
    (kernel/trace/trace_kprobe.c, trace_kprobe_missed). Needs no capability.
    """
    info = ctypes.create_string_buffer(_LINK_INFO_SIZE)
    # What the kernel does not write stays as it was: it copies the whole struct in and out.
    struct.pack_into("<Q", info, _LINK_INFO_MISSED, _UNTOUCHED)
    attr = struct.pack("<IIQ", link, _LINK_INFO_SIZE, ctypes.addressof(info))
    try:
        _bpf(_OBJ_GET_INFO_BY_FD, attr)
    except OSError:
        return None
    (count,) = struct.unpack_from("<Q", info, _LINK_INFO_MISSED)
    return None if count == _UNTOUCHED else int(count)


def _open_event(pmu_type: int, symbol: str, at_return: bool) -> int:
    name = ctypes.create_string_buffer(symbol.encode())
    attr = bytearray(_ATTR_SIZE_VER1)
    struct.pack_into("<IIQQ", attr, 0, pmu_type, _ATTR_SIZE_VER1, int(at_return) * _RETPROBE, 1)
    struct.pack_into("<Q", attr, 56, ctypes.addressof(name))  # kprobe_func; probe_offset stays 0
    buffer = ctypes.create_string_buffer(bytes(attr), len(attr))
    return _call(
        _numbers().perf_event_open,
        ctypes.c_long(ctypes.addressof(buffer)),
        *map(ctypes.c_long, (_ALL_TASKS, _ANY_CPU_IS_THIS_ONE, -1, _FD_CLOEXEC)),
    )


def _link(program: int, event: int) -> int:
    return _bpf(_LINK_CREATE, struct.pack("<IIII", program, event, _ATTACH_PERF_EVENT, 0))


def _bpf(command: int, attr: bytes) -> int:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    return _call(
        _numbers().bpf,
        *map(ctypes.c_long, (command, ctypes.addressof(buffer), len(attr))),
    )


def _numbers() -> _Numbers:
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"no system call numbers for {machine}")
    return _NUMBERS[machine]


def _call(*arguments: int | ctypes.c_long) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
