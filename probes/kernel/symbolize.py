# SPDX-License-Identifier: Apache-2.0
"""Names of kernel addresses, from all functions of kallsyms."""

from bisect import bisect_right
from collections.abc import Collection, Iterator
from pathlib import Path

_TEXT = frozenset("tTwW")
_INTERNAL = ("bpf_", "__bpf_")
"""Functions between a hooked function and its BPF program: trampoline, program, helper."""


class SymbolsError(Exception):
    """Addresses have no names; one line with the fix."""


class Symbols:
    """All functions of the running kernel, by address."""

    def __init__(self, functions: Collection[tuple[int, str]]) -> None:
        """``functions`` are start addresses and names, in any order."""
        ordered = sorted(functions)
        self._starts = [start for start, _ in ordered]
        self._names = [name for _, name in ordered]

    @classmethod
    def read(cls, kallsyms: Path) -> "Symbols":
        """Read kallsyms. Raises ``SymbolsError`` if the kernel hides the addresses."""
        try:
            text = kallsyms.read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise SymbolsError(f"{kallsyms}: {error.strerror}") from error
        functions = list(_functions(text))
        if not any(start for start, _ in functions):
            raise SymbolsError(
                "stacks have no names, because the kernel hides its addresses: "
                "sysctl kernel.kptr_restrict=1, and run as root or with CAP_SYSLOG"
            )
        return cls(functions)

    def name_of(self, address: int) -> str:
        """Return ``function+0x1a``, with the module in brackets; an unknown address in hex."""
        number = bisect_right(self._starts, address) - 1
        if number < 0:
            return hex(address)
        name, _, module = self._names[number].partition(" ")
        offset = f"{name}+{address - self._starts[number]:#x}"
        return f"{offset} {module}" if module else offset


def function_of(frame: str) -> str:
    """Return a frame's function: ``function+0x1a [module]`` without offset and module."""
    return frame.partition("+")[0]


def without_probe(frames: Collection[str], hooked: Collection[str]) -> tuple[str, ...]:
    """Return the frames from the hooked function on, innermost first.

    Before it, a trampoline's stack has the BPF program and helpers of the kernel. If no frame is a
    hooked function (a compiler's clone, for example), only the BPF frames are left out.
    """
    kept = tuple(frames)
    for number, frame in enumerate(kept):
        if function_of(frame) in hooked:
            return kept[number:]
    first = next((n for n, frame in enumerate(kept) if not frame.startswith(_INTERNAL)), 0)
    return kept[first:]


def _functions(text: str) -> Iterator[tuple[int, str]]:
    for line in text.splitlines():
        address, kind, name = line[:16], line[17:18], line[19:]
        if kind in _TEXT:
            try:
                yield int(address, 16), name.replace("\t", " ")
            except ValueError:
                continue
