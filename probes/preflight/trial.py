# SPDX-License-Identifier: Apache-2.0
"""Trial load of a BPF program of two instructions, to find out whether probes can be attached.

Capabilities, seccomp filters, security modules and patched kernels all decide this, so the only
reliable test is to try. The program is not attached, and is unloaded at once.
"""

import os
from collections.abc import Callable

from probes.bpf import syscalls
from probes.bpf.assembly import assemble, leave, move_number
from probes.bpf.load import KPROBE, TRACING, load_program

Trial = Callable[[int | None], None]
"""``load``, or a replacement in tests."""


def can_load(machine: str) -> bool:
    """Whether ``load`` supports this architecture."""
    return syscalls.are_known(machine)


def load(function: int | None) -> None:
    """Load a kprobe program, or an fentry program for the function with this BTF type id.

    Raises ``OSError`` with the kernel's error (kernel/bpf/syscall.c, bpf_prog_load).
    """
    code = assemble([move_number(0, 0), leave()])
    kind = KPROBE if function is None else TRACING
    try:
        os.close(load_program(kind, code, "trial", function=function or 0))
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0)) from error
