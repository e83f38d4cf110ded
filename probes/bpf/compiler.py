# SPDX-License-Identifier: Apache-2.0
"""Compilation of the BPF program with BCC. Needs kernel headers, and loads LLVM."""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from probes.bpf.object_code import Function, MapSpec, ObjectCode


class CompileError(Exception):
    """The source could not be compiled; the compiler's messages are on stderr."""


def compile_text(bcc: ModuleType, text: str) -> ObjectCode:
    """Compile ``text``. The maps that BCC creates exist until the process ends.

    Raises ``CompileError``.
    """

    class Program(bcc.BPF):  # type: ignore[misc, name-defined]  # BCC has no types
        def _trace_autoload(self) -> None:
            """Attach nothing: the loader attaches, because the order matters."""

    try:
        # clang warns about kernel headers newer than BCC; users can't act on these warnings.
        module = Program(text=text.encode(), cflags=["-Wno-everything"]).module
    except Exception as error:  # BCC raises bare Exception
        raise CompileError(f"BCC could not compile the probes ({error})") from error
    descriptors = _map_descriptors(bcc.lib, module)
    return ObjectCode(
        {name: _map_spec(descriptor) for descriptor, name in descriptors.items()},
        dict(_functions(bcc.lib, module, descriptors)),
    )


def _map_descriptors(lib: Any, module: int) -> dict[int, str]:
    # BCC's binding does not declare these two functions.
    lib.bpf_num_tables.argtypes = [ctypes.c_void_p]
    lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    lib.bpf_table_name.restype = ctypes.c_char_p
    names = [lib.bpf_table_name(module, number) for number in range(lib.bpf_num_tables(module))]
    return {lib.bpf_table_fd(module, name): name.decode() for name in names}


def _map_spec(descriptor: int) -> MapSpec:
    """Read a map's attributes from fdinfo (kernel/bpf/syscall.c, bpf_map_show_fdinfo)."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    shown = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    names = ("map_type", "key_size", "value_size", "max_entries", "map_flags")
    return MapSpec(*(int(shown[name], 0) for name in names))


def _functions(lib: Any, module: int, descriptors: Mapping[int, str]) -> list[tuple[str, Function]]:
    found = []
    for number in range(lib.bpf_num_functions(module)):
        name: bytes = lib.bpf_function_name(module, number)
        size = lib.bpf_function_size(module, name)
        code = ctypes.string_at(lib.bpf_function_start(module, name), size)
        found.append((os.fsdecode(name), Function.unbound(code, descriptors)))
    return found
