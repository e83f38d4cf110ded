# SPDX-License-Identifier: Apache-2.0
"""A list of page frames, as the kernel links them through page->lru.

Frames are kept as runs: ``range(7, 10)`` stands for the frames 7, 8, 9 in this order. So a list
of millions stays small, and its consumer can work on a whole run at once.
"""

from collections import deque
from collections.abc import Iterator


class FrameList:
    """struct list_head of struct pages."""

    def __init__(self) -> None:
        self._runs: deque[range] = deque()

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def __iter__(self) -> Iterator[int]:
        for run in self._runs:
            yield from run

    def add(self, frames: range) -> None:
        """Put frames in front, one after the other: the last one will be the first (list_add)."""
        self._runs.appendleft(frames[::-1])

    def add_tail(self, frames: range) -> None:
        """Append frames (list_add_tail)."""
        self._runs.append(frames)

    def take(self, count: int) -> Iterator[range]:
        """Take ``count`` frames off the front, as runs. Raises ``IndexError`` when it ends."""
        while count:
            run = self._runs.popleft()
            if len(run) > count:
                self._runs.appendleft(run[count:])
            yield run[:count]
            count -= len(run[:count])

    def take_all(self) -> Iterator[range]:
        """Take everything off the front, as runs."""
        while self._runs:
            yield self._runs.popleft()

    def remove(self, frame: int) -> None:
        """Take one frame out (list_del). Raises ``ValueError`` when it is not on the list."""
        at = next((at for at, run in enumerate(self._runs) if frame in run), None)
        if at is None:
            raise ValueError(f"frame {frame:#x} is not on the list")
        run = self._runs[at]
        place = run.index(frame)
        del self._runs[at]
        for part in (run[place + 1 :], run[:place]):
            if part:
                self._runs.insert(at, part)
