# SPDX-License-Identifier: Apache-2.0
"""Attach a BPF program to a kprobe with a link, which counts the hits that the kernel dropped.

perf_event_open(2) creates the probe and bpf(2) the link (Linux 5.15). They are called directly,
because BCC's library can't create links and the daemon, which reads the counts, does not load it.
"""

import ctypes
import fcntl
import os
import struct
from pathlib import Path

from probes.bpf.syscalls import bpf, perf_event_open

# include/uapi/linux/perf_event.h
_ATTR_SIZE_VER1 = 72
_RETPROBE = 1  # bit 0 of config (format/retprobe of the PMU)
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408

# include/uapi/linux/bpf.h
_OBJ_GET_INFO_BY_FD, _LINK_CREATE = 15, 28
_ATTACH_PERF_EVENT = 41
_LINK_INFO_SIZE = 64
_LINK_INFO_MISSED = 48  # perf_event.kprobe.missed
_UNTOUCHED = 2**64 - 1


def attach(program: int, symbol: str, *, at_return: bool, pmu: Path) -> int:
    """Attach a loaded program; return its link, or the perf event before Linux 5.15.

    Closing the descriptor removes the probe. ``pmu`` is the folder of the kprobe PMU
    (/sys/bus/event_source/devices/kprobe). Raises ``OSError``.
    """
    event = _open_event(int((pmu / "type").read_text()), symbol, at_return)
    try:
        link = _link(program, event)
    except OSError:  # EINVAL if the kernel does not support perf event links
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
        os.close(event)  # the link holds a reference
    return link


def missed(link: int) -> int | None:
    """Hits of a probe that the kernel dropped; None before Linux 6.7, which does not report them.

    At an entry: hits inside another kprobe. At a return: also hits without a free return probe
    (kernel/trace/trace_kprobe.c, trace_kprobe_missed). Needs no capability.
    """
    info = ctypes.create_string_buffer(_LINK_INFO_SIZE)
    # A member that the kernel does not set keeps its value: it copies the whole struct in and out.
    struct.pack_into("<Q", info, _LINK_INFO_MISSED, _UNTOUCHED)
    attr = struct.pack("<IIQ", link, _LINK_INFO_SIZE, ctypes.addressof(info))
    try:
        bpf(_OBJ_GET_INFO_BY_FD, attr)
    except OSError:
        return None
    (count,) = struct.unpack_from("<Q", info, _LINK_INFO_MISSED)
    return None if count == _UNTOUCHED else int(count)


def _open_event(pmu_type: int, symbol: str, at_return: bool) -> int:
    name = ctypes.create_string_buffer(symbol.encode())
    attr = bytearray(_ATTR_SIZE_VER1)
    struct.pack_into("<IIQQ", attr, 0, pmu_type, _ATTR_SIZE_VER1, int(at_return) * _RETPROBE, 1)
    struct.pack_into("<Q", attr, 56, ctypes.addressof(name))  # kprobe_func; probe_offset stays 0
    return perf_event_open(bytes(attr))


def _link(program: int, event: int) -> int:
    return bpf(_LINK_CREATE, struct.pack("<IIII", program, event, _ATTACH_PERF_EVENT, 0))
