# SPDX-License-Identifier: Apache-2.0
"""Tells a guest that the emulator killed from one whose kernel died of what was done to it.

QEMU 7.2's emulation of several CPUs has faults that a kernel trips over at random, most of them
while it boots. Only deaths that cannot have another cause are taken for such, and none with a
function of HVO, of BPF or of the probes in its backtrace.
"""

from __future__ import annotations

import re

SUSPECT = re.compile(
    r"vmemmap|hugetlb|huge_?(?:page|folio)|bpf|kprobe|kretprobe|fprobe|uprobe|ftrace|trampoline",
    re.IGNORECASE,
)
"""In the name of a function of a backtrace: the death may be the product's or the kernel's own."""

_FUNCTION = re.compile(r"([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+")
_EFLAGS = re.compile(r"EFLAGS: ([0-9a-f]{8})\b")
_INIT = re.compile(r"Attempted to kill init! exitcode=0x([0-9a-f]+)")
_PANIC = re.compile(r"Kernel panic|Oops|BUG: |general protection fault|int3: ")
_FAULTS = {
    "int3: 0000 [#1]": "a breakpoint of the kernel's own patching was left to another CPU (int3)",
    "IO-APIC + timer doesn't work!": "the timer's interrupt came too late",
}
"""By what the kernel says."""

# Bits of the register (Intel SDM 1, 3.4.3): bit 1 is always set; 3, 5, 15 and 22 to 31 never are.
_EFLAGS_ONE = 0x2
_EFLAGS_ZERO = 0xFFC08028
_SIGNAL = 0x7F


def death(console: str, *, started: bool, timed_out: bool) -> str:
    """The emulator's fault of which a guest died; empty when it was not, or may not have been.

    ``console`` is the guest's whole log; ``started`` says whether the command had begun.
    """
    if any(SUSPECT.search(name) for name in _FUNCTION.findall(console)):
        return ""
    if not _PANIC.search(console):
        silent = timed_out and not started
        return "it hung before the command began, without a word" if silent else ""
    if any(map(_impossible, _EFLAGS.findall(console))):
        return "EFLAGS has bits that no CPU sets"
    if fault := next((fault for said, fault in _FAULTS.items() if said in console), ""):
        return fault
    if (found := _INIT.search(console)) and int(found[1], 16) & _SIGNAL:
        return f"init was killed by signal {int(found[1], 16) & _SIGNAL}"
    return ""


def _impossible(eflags: str) -> bool:
    value = int(eflags, 16)
    return not value & _EFLAGS_ONE or bool(value & _EFLAGS_ZERO)
