# SPDX-License-Identifier: Apache-2.0
"""Stacks of the simulated kernel: its own call chain, most of which has the kernel's names.

The innermost function is the hooked one, by its name in the simulated generation. Private helpers
are left out, and so are the functions that drive the kernel from outside. Functions that the
simulated kernel does not have, such as those of system calls, are not made up.
"""

import sys
from collections.abc import Mapping
from types import FrameType

_PACKAGE = "sim_backend.kernel."
_OUTSIDE = frozenset(
    f"{_PACKAGE}{name}" for name in ("sim_kernel", "tracing", "faulty_tracer", "call_chain")
)
_FOR_ONE_PAGE = frozenset(
    {"free_huge_page_vmemmap", "alloc_huge_page_vmemmap", "trace_optimize_enter"}
)
"""Stand for the hooked function of every generation."""


class CallChains:
    """Numbers each different chain, from 1."""

    def __init__(self, symbols: Mapping[str, str]) -> None:
        """``symbols`` are the hooked functions by step."""
        self._symbols = symbols
        self._numbers: dict[tuple[str, ...], int] = {}
        self._chains: list[tuple[str, ...]] = []

    def number(self, step: str) -> int:
        """Number of the chain that led to the hooked function of ``step``."""
        hooked = self._symbols[step]
        callers = (name for name in _current() if name not in _FOR_ONE_PAGE and name != hooked)
        chain = (hooked, *callers)
        number = self._numbers.get(chain)
        if number is None:
            self._chains.append(chain)
            number = self._numbers[chain] = len(self._chains)
        return number

    def frames(self, number: int) -> tuple[str, ...]:
        """The chain of a number, innermost first; empty for an unknown number."""
        return self._chains[number - 1] if 0 < number <= len(self._chains) else ()


def _current() -> tuple[str, ...]:
    names = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module.startswith(_PACKAGE) and module not in _OUTSIDE and name[0].isalpha():
            names.append(name)
        frame = frame.f_back
    return tuple(names)
