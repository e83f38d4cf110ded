# SPDX-License-Identifier: Apache-2.0
"""What a scenario asks of its machine, added up without running it."""

from probes.geometry import GIB, MIB, size_label
from probes.operations import SWITCH_VERB, Operation
from sim_backend.scenario.actions import Action
from sim_backend.scenario.machine import MachineSpec

_SIZED = ("resize", "take", "give", "reserve", "unreserve", "dissolve")


class Ledger:
    """Pools as they would be if nothing failed."""

    def __init__(self, machine: MachineSpec) -> None:
        """Begin with empty pools."""
        self._machine = machine
        self._pool = dict.fromkeys(sorted(machine.sizes), 0)
        self._taken = dict.fromkeys(machine.sizes, 0)

    @property
    def pools(self) -> dict[int, int]:
        """Pages by size in bytes."""
        return dict(self._pool)

    def enter(self, action: Operation | Action, *, may_fail: bool = False) -> None:
        """Add ``action``; ``ValueError`` when it is impossible, unless it may be."""
        if isinstance(action, Operation):
            if action.verb != SWITCH_VERB:
                self._operation(action, may_fail)
        elif action.verb in _SIZED:
            self._sized(action, may_fail)
        if not may_fail:
            self._check_memory(action)

    def _operation(self, operation: Operation, may_fail: bool) -> None:
        verb, size, pages, _ = operation
        self._check_size(operation, size)
        if verb == "grow":
            self._pool[size] += pages
        elif verb == "shrink":
            self._pool[size] = self._less(operation, self._pool[size], pages, may_fail)
        elif verb == "demote":
            smaller = [other for other in self._pool if other < size]
            if not smaller:
                raise ValueError(f"'{operation}': there is no smaller size to demote to")
            self._pool[size] = self._less(operation, self._pool[size], pages, may_fail)
            self._pool[smaller[-1]] += pages * (size // smaller[-1])

    def _sized(self, action: Action, may_fail: bool) -> None:
        size, pages = action.size, int(action.amount)
        self._check_size(action, size)
        if action.verb == "resize":
            self._pool[size] = pages
        elif action.verb in ("take", "reserve"):
            self._taken[size] += pages
        elif action.verb == "dissolve":
            self._pool[size] = self._less(action, self._pool[size], pages, may_fail)
        else:
            self._taken[size] = self._less(action, self._taken[size], pages, may_fail)

    def _less(self, action: Operation | Action, there: int, pages: int, may_fail: bool) -> int:
        if pages > there and not may_fail:
            raise ValueError(f"'{action}': there are only {there} pages by then")
        return max(0, there - pages)

    def _check_size(self, action: Operation | Action, size: int) -> None:
        if size not in self._pool:
            sizes = ", ".join(map(size_label, self._pool))
            raise ValueError(f"'{action}': this machine has huge pages of {sizes}")

    def _check_memory(self, action: Operation | Action) -> None:
        wanted = sum(size * max(n, self._taken[size]) for size, n in self._pool.items())
        if isinstance(action, Operation) and action.verb == "overcommit":
            wanted += action.size * action.pages
        if wanted > self._machine.memory:
            raise ValueError(
                f"'{action}': that makes {_size(wanted)} of huge pages, and the machine has "
                f"{_size(self._machine.memory)} of memory"
            )


def _size(size: int) -> str:
    return f"{size / GIB:.4g}GB" if size >= GIB else f"{size / MIB:.4g}MB"
