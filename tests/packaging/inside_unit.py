# SPDX-License-Identifier: Apache-2.0
"""Runs in place of the daemon in the unit's sandbox, and reports which actions are possible.

``inside_unit.py`` prints one JSON object. What attaching probes takes must work, and nothing else.
"""

import ctypes
import errno
import json
import os
import platform
import socket
import struct
from collections.abc import Callable
from pathlib import Path

_NUMBERS = {"x86_64": (321, 298), "aarch64": (280, 241)}
_BPF_MAP_CREATE, _BPF_PROG_LOAD = 0, 5
_ARRAY, _KPROBE = 2, 2
_RETURN_0 = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)

_libc = ctypes.CDLL(None, use_errno=True)
_bpf, _perf_event_open = _NUMBERS[platform.machine()]


def make_map() -> None:
    """BPF_MAP_CREATE of an array with one element."""
    _call(_bpf, _BPF_MAP_CREATE, struct.pack("<IIII", _ARRAY, 4, 8, 1), 0)


def load_kprobe() -> None:
    """BPF_PROG_LOAD of the shortest program."""
    code, licence = ctypes.create_string_buffer(_RETURN_0), ctypes.create_string_buffer(b"GPL")
    at, licence_at = ctypes.addressof(code), ctypes.addressof(licence)
    _call(_bpf, _BPF_PROG_LOAD, struct.pack("<IIQQ", _KPROBE, 2, at, licence_at), 0)


def open_perf_event() -> None:
    """perf_event_open of a software clock on CPU 0, for all processes."""
    buffer = ctypes.create_string_buffer(struct.pack("<II", 1, 112), 112)
    _check(_libc.syscall(_perf_event_open, buffer, -1, 0, -1, 0))


def read_addresses() -> None:
    """Read addresses from /proc/kallsyms that are not zero."""
    with Path("/proc/kallsyms").open() as symbols:
        if any(int(line.split()[0], 16) for line, _ in zip(symbols, range(99), strict=False)):
            return
    raise OSError(errno.EACCES, "only zeros")


def write_sysctl() -> None:
    """Write a sysctl."""
    Path("/proc/sys/vm/hugetlb_optimize_vmemmap").write_text("1")


def write_cache() -> None:
    """Write to the daemon's cache folder."""
    (Path(os.environ["CACHE_DIRECTORY"]) / "test").write_text("x")


def see_homes() -> None:
    """List /root."""
    if not list(Path("/root").iterdir()):
        raise OSError(errno.ENOENT, "empty")


def connect() -> None:
    """Open a network connection."""
    socket.socket(socket.AF_INET).close()


def make_code() -> None:
    """Map writable and executable memory."""
    _libc.mmap.restype = ctypes.c_void_p
    if _libc.mmap(None, 4096, 7, 0x22, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")


def be_spared_by_the_oom_killer() -> None:
    """Set an OOM score that excludes this process from being killed."""
    Path("/proc/self/oom_score_adj").write_text("-1000")


def reboot() -> None:
    """Call reboot(2) with arguments that only check the permission."""
    _check(_libc.reboot(0))


def attempt(what: Callable[[], None]) -> str:
    """Return ``ok``, or the errno's name."""
    try:
        what()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def _call(number: int, command: int, attributes: bytes, _: int) -> None:
    buffer = ctypes.create_string_buffer(attributes, 120)
    _check(_libc.syscall(number, command, buffer, 120))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


ATTEMPTS = (
    make_map,
    load_kprobe,
    open_perf_event,
    read_addresses,
    write_cache,
    write_sysctl,
    see_homes,
    connect,
    make_code,
    be_spared_by_the_oom_killer,
    reboot,
)

if __name__ == "__main__":
    print(json.dumps({what.__name__: attempt(what) for what in ATTEMPTS}))  # noqa: T201
