# SPDX-License-Identifier: Apache-2.0
"""Reader of the kernel's symbol table, limited to the symbols of HVO and its probes."""

import errno
from collections.abc import Collection, Iterator, Mapping
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
_WANTED = (b"vmemmap", *(f" {name}\n".encode() for name in _NAMES))
"""What is in the lines of those symbols: about 100 of 200,000."""
_BLOCK = 1 << 20
_TEXT_AND_DATA = frozenset("tTdDbBrR")


def read_symbols(kallsyms: Path) -> Mapping[str, int]:
    """Read name -> address of the symbols that HVO and its probes use from a kallsyms file.

    Addresses are 0 if the kernel hides them (kptr_restrict). Symbols of modules and malformed lines
    are skipped. Raises ``OSError``; with ENODATA if the file is empty, which means that the symbols
    are hidden from this process.
    """
    found: dict[str, int] = {}
    empty = True
    for block in _blocks(kallsyms):
        empty = False
        for line in _wanted_lines(block):
            words = line.decode("ascii", "replace").split()
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


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of whole lines; the last line has an end, too."""
    rest = b""
    with path.open("rb", buffering=0) as file:
        while read := file.read(_BLOCK):
            whole, end, rest = (rest + read).rpartition(b"\n")
            if end:
                yield whole + end
    if rest:
        yield rest + b"\n"


def _wanted_lines(block: bytes) -> Iterator[bytes]:
    """Lines with one of ``_WANTED``, in the order of the file.

    Searching for each in the whole block takes a tenth of a look at each line.
    """
    begins = set()
    for wanted in _WANTED:
        at = block.find(wanted)
        while at >= 0:
            begins.add(block.rfind(b"\n", 0, at) + 1)
            at = block.find(wanted, at + len(wanted))
    for begin in sorted(begins):
        yield block[begin : block.index(b"\n", begin)]


def find_return_trampoline(symbols: Mapping[str, int]) -> int:
    """Address of the trampoline of return probes; 0 if it is not known."""
    return next((symbols[name] for name in _RETURN_TRAMPOLINES if symbols.get(name)), 0)


def has_trampolines(symbols: Collection[str], machine: str) -> bool:
    """Whether the kernel supports BPF trampolines (fentry) that BCC can create."""
    return machine == "x86_64" and _TRAMPOLINE in symbols
