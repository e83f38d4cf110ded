# SPDX-License-Identifier: Apache-2.0
"""Create maps and load programs by bpf(2) alone: needs no library of BCC's, and no LLVM.

Layouts of union bpf_attr and all numbers: include/uapi/linux/bpf.h. Each function raises
``OSError`` if the kernel refuses; the message names what, and ends with the verifier's last words.
"""

import contextlib
import ctypes
import errno
import os
import re
import resource
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from probes.bpf.object_code import INSTRUCTION_SIZE, MapSpec
from probes.bpf.syscalls import bpf

KPROBE, RAW_TRACEPOINT, TRACING = 2, 17, 26
"""BPF_PROG_TYPE_*."""

_FENTRY, _FEXIT = 24, 25
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN = 0, 2, 5, 17

_MAP = struct.Struct("=IIIIIII16s")
"""map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name."""
_UPDATE = struct.Struct("=I4xQQQ")
"""map_fd, key, value, flags."""
_LOAD = struct.Struct("=IIQQIIQII16sII36xI")
"""prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags,
prog_name, prog_ifindex, expected_attach_type, then attach_btf_id after the program's own BTF."""
_OPEN = struct.Struct("=QI4x")
"""name, prog_fd."""

_LICENSE = b"GPL"
_LOG_BYTES = 1 << 16
_LOG_TAIL = 300
_NAME_BYTES = 15
"""BPF_OBJ_NAME_LEN without its end."""


def create_maps(specs: Mapping[str, MapSpec]) -> dict[str, int]:
    """Create the maps; return their descriptors by name."""
    made: dict[str, int] = {}
    try:
        for name, spec in specs.items():
            made[name] = create_map(spec, name)
    except OSError:
        for descriptor in made.values():
            os.close(descriptor)
        raise
    return made


def create_map(spec: MapSpec, name: str) -> int:
    """Create a map; return its descriptor."""
    return _call(_MAP_CREATE, _MAP.pack(*spec, 0, 0, _object_name(name)), f"map {name}")


def set_element(map_descriptor: int, value: bytes) -> None:
    """Write the only element of an array, which is as large as ``value``."""
    key, element = ctypes.c_uint32(0), ctypes.create_string_buffer(value, len(value))
    addresses = ctypes.addressof(key), ctypes.addressof(element)
    _call(_MAP_UPDATE, _UPDATE.pack(map_descriptor, *addresses, 0), "the element of an array")


def load_program(
    kind: int, code: bytes, name: str, *, function: int = 0, at_return: bool = False
) -> int:
    """Load instructions as a program of type ``kind``; return its descriptor.

    ``TRACING``: for the entry or the return of the function with this BTF type id.
    """
    text, gpl = ctypes.create_string_buffer(code), ctypes.create_string_buffer(_LICENSE)
    attach = (_FEXIT if at_return else _FENTRY) if kind == TRACING else 0

    def attributes(log_level: int, log: int) -> bytes:
        return _LOAD.pack(
            *(kind, len(code) // INSTRUCTION_SIZE, ctypes.addressof(text), ctypes.addressof(gpl)),
            *(log_level, _LOG_BYTES if log else 0, log),
            *(0, 0, _object_name(name), 0, attach, function),
        )

    what = f"program {name}"
    try:
        return _call(_PROG_LOAD, attributes(0, 0), what)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        # Once more, for the verifier's reason.
        log = ctypes.create_string_buffer(_LOG_BYTES)
        with contextlib.suppress(OSError):
            os.close(_call(_PROG_LOAD, attributes(1, ctypes.addressof(log)), what))
        tail = " ".join(log.value.decode(errors="replace").split())[-_LOG_TAIL:]
        raise OSError(error.errno, f"{error.strerror} {tail}".strip()) from error


def attach_trampoline(program: int, symbol: str) -> int:
    """Attach a ``TRACING`` program to its function; return the link's descriptor."""
    return _call(_RAW_TRACEPOINT_OPEN, _OPEN.pack(0, program), f"fentry on {symbol}")


def _call(command: int, attributes: bytes, what: str) -> int:
    try:
        try:
            return bpf(command, attributes)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            # Before Linux 5.11 programs and maps count as locked memory, and EPERM also means that
            # its limit is reached.
            with _unlimited_locked_memory():
                return bpf(command, attributes)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OSError(error.errno, f"the kernel refused {what} ({reason})") from error


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


def _object_name(name: str) -> bytes:
    """Letters, digits and _ are allowed (bpf_obj_name_cpy)."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:_NAME_BYTES].encode()
