# SPDX-License-Identifier: Apache-2.0
"""What an operation must do to huge pages, worked out before it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.verify.accounts import Accounts
from exporter.verify.machine import END_USE, FAIL, USE, HugePageSize
from probes.observation import known
from probes.operations import Operation


@dataclass(frozen=True)
class Change:
    """What becomes of the huge pages of one size."""

    pages: int = 0
    """More pages, or fewer."""
    optimized: int = 0
    restored: int | None = 0
    """None if it depends on which pages the kernel takes first."""
    surplus: int = 0
    """More of the pages are surplus, or fewer."""
    failed: int = 0
    """Pages that are not restored for want of memory."""


Effect = Mapping[int, Change]
"""By size in bytes; other sizes do not change."""


@dataclass(frozen=True)
class _Pages:
    optimized: int
    plain: int

    def taken(self, count: int) -> int | None:
        """How many of ``count`` pages that go away are optimized; None if not known."""
        if not self.plain:
            return count
        if not self.optimized:
            return 0
        return self.optimized if count == self.optimized + self.plain else None


class Pools:
    """Huge pages of each size, optimized or not, from one operation to the next."""

    def __init__(self, sizes: Sequence[HugePageSize], start: Accounts, *, on: bool) -> None:
        """Begin with what the accounts say; ``on`` is the switch."""
        self._sizes = {size.size: size for size in sizes}
        self._on = on
        self._pages: dict[int, _Pages | None] = {
            size.size: _at_start(size, start) for size in sizes
        }
        self._failed: dict[int, int] = {}
        """Surplus that an operation has left, by size."""

    def apply(self, operation: Operation) -> Effect:
        """The effect of an operation, which is then done."""
        match operation.verb:
            case "hvo":
                self._on = operation.on
                return {}
            case "demote":
                return self._demote(operation)
        return {operation.size: self._of_one_size(operation)}

    def _of_one_size(self, operation: Operation) -> Change:
        size, pages = operation.size, operation.pages
        match operation.verb:
            case "grow":
                return self._add(size, pages)
            case "use":
                return replace(self._add(size, pages), surplus=pages)
            case "fail to shrink":
                self._failed[size] = pages
                return Change(surplus=pages, failed=pages)
            case "shrink":
                return replace(self._remove(size, pages), surplus=-self._failed.pop(size, 0))
            case "end use":
                return replace(self._remove(size, pages), surplus=-pages)
        raise ValueError(f"{operation}: unknown ({USE}, {END_USE}, {FAIL}, grow, ...)")

    def _add(self, size: int, count: int) -> Change:
        is_optimized = self._on and self._sizes[size].net_frames != 0
        before = self._pages[size]
        if before is not None:
            grown = (
                replace(before, optimized=before.optimized + count)
                if is_optimized
                else replace(before, plain=before.plain + count)
            )
            self._pages[size] = grown
        return Change(pages=count, optimized=count if is_optimized else 0)

    def _remove(self, size: int, count: int) -> Change:
        before = self._pages[size]
        restored = None if before is None else before.taken(count)
        if before is None or restored is None:
            self._pages[size] = None
        else:
            self._pages[size] = _Pages(
                before.optimized - restored, before.plain - (count - restored)
            )
        return Change(pages=-count, restored=restored)

    def _demote(self, operation: Operation) -> Effect:
        smaller = self._sizes[operation.size].smaller
        if smaller is None:
            raise ValueError(f"{operation}: there is no smaller size")
        parts = operation.pages * (operation.size // smaller)
        return {
            operation.size: self._remove(operation.size, operation.pages),
            smaller: self._add(smaller, parts),
        }


def _at_start(size: HugePageSize, start: Accounts) -> _Pages | None:
    if not start.pages.get(size.size):
        return _Pages(0, 0)
    counted = (known(start.census) or {}).get(size.order)
    if counted is None:
        return None
    return _Pages(counted.optimized, counted.pages - counted.optimized)
