# SPDX-License-Identifier: Apache-2.0
"""Reader of the kernel's symbol table, limited to the symbols of HVO and its probes."""

import errno
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from probes.kernel.host import parse_digits

_TRAMPOLINE = "bpf_trampoline_link_prog"  # kernel/bpf/trampoline.c, Linux 5.5
_RETURN_TRAMPOLINES = (
    "arch_rethook_trampoline",  # Linux 5.18 on x86 (73f9b911faa7), later on others
    "__kretprobe_trampoline",  # Linux 5.16 (adf8a61a940c)
    "kretprobe_trampoline",
)
"""Functions that a return probe puts in place of a return address, newest name first."""
_POOLS = ("hstates", "hugetlb_max_hstate", "hpage_freelist")  # mm/hugetlb.c
_NAMES = (_TRAMPOLINE, *_RETURN_TRAMPOLINES, *_POOLS)
_WANTED = re.compile(rf"vmemmap| (?:{'|'.join(_NAMES)})$")
_TEXT_AND_DATA = frozenset("tTdDbBrR")


def read_symbols(kallsyms: Path) -> Mapping[str, int]:
    """Read name -> address of the symbols that HVO and its probes use from a kallsyms file.

    Addresses are 0 if the kernel hides them (kptr_restrict). Symbols of modules and malformed lines
    are skipped. Raises ``OSError``; with ENODATA if the file is empty, which means that the symbols
    are hidden from this process.
    """
    found: dict[str, int] = {}
    empty = True
    with kallsyms.open(encoding="ascii", errors="replace", newline="\n") as lines:
        for line in lines:
            empty = False
            if not _WANTED.search(line):  # about 100 of 200,000 lines match
                continue
            words = line.split()
            if len(words) != 3 or words[1] not in _TEXT_AND_DATA:
                continue
            try:
                address = parse_digits(words[0], 16)
            except ValueError:
                continue
            found.setdefault(words[2], address)
    if empty:
        raise OSError(errno.ENODATA, "the file is empty", str(kallsyms))
    return found


def find_return_trampoline(symbols: Mapping[str, int]) -> int:
    """Address of the trampoline of return probes; 0 if it is not known."""
    return next((symbols[name] for name in _RETURN_TRAMPOLINES if symbols.get(name)), 0)


def has_trampolines(symbols: Collection[str], machine: str) -> bool:
    """Whether the kernel supports BPF trampolines (fentry) that BCC can create."""
    return machine == "x86_64" and _TRAMPOLINE in symbols
