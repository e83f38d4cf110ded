# SPDX-License-Identifier: Apache-2.0
"""``make lint``: compiles the BPF program of each kernel and mode with clang for BPF.

BCC compiles with clang too, but needs kernel headers; the stub replaces BCC and the headers.
"""

import shutil
import subprocess
import sys

from probes.backend import FULL, RANGE
from tests.probes.bpf.userspace.kernels import KERNELS
from tests.probes.bpf.userspace.library import STUB_FLAGS
from tests.probes.bpf.userspace.run import Program, Variant, program_for, variants

_FLAGS = ("-target", "bpf", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
_LENIENT = (
    "-Wno-pointer-sign",
    "-Wno-unused",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
)
_TO_AN_OBJECT = (
    ("5.14", Variant(FULL, stream=True, fentry=False)),
    ("6.7", Variant(RANGE, stream=False, fentry=True)),
    ("7.2", Variant(RANGE, stream=True, fentry=False)),
    ("6.7", Variant(FULL, stream=True, fentry=True, stacks=True)),
)
"""Compiled to object code, which detects a stack of more than 512 bytes and unsupported calls.
For all others only the syntax is checked, which takes a twentieth of the time."""


def main() -> None:
    """Compile every source once; exit with 1 if one fails, 2 without clang."""
    if shutil.which("clang") is None:
        print("make lint: clang is not installed: apt-get install clang", file=sys.stderr)
        sys.exit(2)
    programs: dict[str, Program] = {}
    for kernel in KERNELS.values():
        for variant in variants(kernel):
            program = program_for(kernel, variant)
            programs.setdefault(program.text, program)
    failed = [program for program in programs.values() if not _compiles(program, "-fsyntax-only")]
    for name, variant in _TO_AN_OBJECT:
        program = program_for(KERNELS[name], variant)
        failed += [] if _compiles(program, "-c") else [program]
    for program in failed:
        print(f"clang: failed for {program.kernel}, {program.variant}", file=sys.stderr)
    print(f"clang: {len(programs)} sources of the BPF program checked")
    sys.exit(bool(failed))


def _compiles(program: Program, how: str) -> bool:
    command = ["clang", how, *_FLAGS, *_LENIENT, *STUB_FLAGS, "-o", "/dev/null", "-x", "c", "-"]
    return subprocess.run(command, input=program.text, text=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
