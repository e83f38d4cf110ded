# SPDX-License-Identifier: Apache-2.0
"""Bindings of BCC's C library: create maps, load bytecode, attach trampolines.

Declared in bcc's src/cc/libbpf.h; exported under these names since BCC 0.7.
"""

import ctypes
import os
from collections.abc import Mapping

from probes.bpf.object_code import MapSpec, ObjectCode

PROGRAM_KPROBE, PROGRAM_TRACING = 2, 26
"""BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_TRACING (include/uapi/linux/bpf.h)."""

_LICENSE = b"GPL"
_LOG_SIZE = 1 << 16
_LOG_TAIL = 300


class LibBcc:
    """Functions of the library; each raises ``OSError`` if the kernel refuses the call."""

    def __init__(self, name: str = "libbcc.so.0") -> None:
        """Open the library. Raises ``OSError`` if it is not installed."""
        self._lib = ctypes.CDLL(name, use_errno=True)

    def create_maps(self, specs: Mapping[str, MapSpec]) -> dict[str, int]:
        """Create the maps; return their descriptors by name."""
        return {name: self._create_map(name, spec) for name, spec in specs.items()}

    def _create_map(self, name: str, spec: MapSpec) -> int:
        return self._checked(
            self._lib.bcc_create_map(spec.kind, name.encode(), *spec[1:]), f"map {name}"
        )

    def set_u64(self, map_descriptor: int, index: int, value: int) -> None:
        """Write ``value`` into an array of u64."""
        key, element = ctypes.c_int(index), ctypes.c_uint64(value)
        self._checked(
            self._lib.bpf_update_elem(
                map_descriptor, ctypes.byref(key), ctypes.byref(element), ctypes.c_ulonglong(0)
            ),
            "array element",
        )

    def load(
        self, program: ObjectCode, name: str, maps: Mapping[str, int], *, tracing: bool
    ) -> int:
        """Load one function, bound to ``maps``; return the descriptor of the program.

        The name of a tracing function contains its target (``kfunc__X``, ``kretfunc__X``), which
        the library looks up in BTF.
        """
        code = program.functions[name].bound_to(maps)
        log = ctypes.create_string_buffer(_LOG_SIZE)
        descriptor = self._lib.bcc_prog_load(
            PROGRAM_TRACING if tracing else PROGRAM_KPROBE,
            name.encode(),
            code,
            len(code),
            _LICENSE,
            0,  # kern_version: ignored by all kernels with HVO
            0,
            log,
            _LOG_SIZE,
        )
        return self._checked(descriptor, f"program {name}", log.value.decode(errors="replace"))

    def attach_trampoline(self, program: int, symbol: str) -> int:
        """Attach a tracing program to the target in its name; return the link's descriptor."""
        return self._checked(self._lib.bpf_attach_kfunc(program), f"fentry on {symbol}")

    def _checked(self, descriptor: int, what: str, log: str = "") -> int:
        if descriptor < 0:
            number = ctypes.get_errno()
            log_tail = " ".join(log.split())[-_LOG_TAIL:]
            reason = ": ".join(filter(None, (os.strerror(number), log_tail)))
            raise OSError(number, f"the kernel refused {what} ({reason})")
        return descriptor
