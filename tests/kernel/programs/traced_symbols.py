# SPDX-License-Identifier: Apache-2.0
"""Prints the kernel's symbols while BPF programs with the kernel's own names are loaded.

The kernel shows them as symbols of a module that it calls bpf.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_NAMES = ("vmemmap_remap_pte", "vmemmap_restore_pte")


def main() -> None:
    """Attach, then read."""
    text = "".join(f"int {name}(void *ctx) {{ return {len(name)}; }}\n" for name in _NAMES)
    bpf = importlib.import_module("bcc").BPF(text=text, cflags=["-Wno-everything"])
    for name in _NAMES:
        bpf.attach_kprobe(event=name, fn_name=name)
    sys.stdout.write(Path("/proc/kallsyms").read_text())


if __name__ == "__main__":
    main()
