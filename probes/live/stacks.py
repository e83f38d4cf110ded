# SPDX-License-Identifier: Apache-2.0
"""Kernel stacks of the live kernel, by name."""

from collections.abc import Collection

from probes.bpf.stacks import Lookup
from probes.kernel.symbolize import Symbols, without_probe


class Stacks:
    """Names each stack once; entries of the map never change."""

    def __init__(self, lookup: Lookup, symbols: Symbols, hooked: Collection[str]) -> None:
        """``lookup`` reads the addresses of an entry, ``hooked`` are functions with a probe."""
        self._lookup = lookup
        self._symbols = symbols
        self._hooked = frozenset(hooked)
        self._known: dict[int, tuple[str, ...]] = {}

    def frames(self, number: int) -> tuple[str, ...]:
        """Frames of a record's stack, innermost first; empty if it can't be read."""
        if number not in self._known:
            try:
                addresses = self._lookup(number - 1)
            except OSError:
                return ()
            frames = [self._symbols.name_of(address) for address in addresses]
            self._known[number] = without_probe(frames, self._hooked)
        return self._known[number]
