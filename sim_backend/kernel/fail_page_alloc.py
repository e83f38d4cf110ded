# SPDX-License-Identifier: Apache-2.0
"""mm/fail_page_alloc.c: let chosen allocations of single frames fail, whatever memory there is."""

from collections import deque


class FailPageAlloc:
    """Fault injection that passes and fails in turn, and at last passes for ever.

    The kernel's own has one turn of each: ``space`` less one, and ``times``.
    """

    def __init__(self, *turns: int) -> None:
        """``turns`` are so many that pass, so many that fail, and so on."""
        self._fates = deque(n % 2 == 1 for n, count in enumerate(turns) for _ in range(count))

    @property
    def armed(self) -> bool:
        """Whether an allocation is yet to fail."""
        return bool(self._fates)

    def should_fail(self) -> bool:
        """Whether the allocation that is asked for now fails."""
        return bool(self._fates) and self._fates.popleft()
