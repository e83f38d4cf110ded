# SPDX-License-Identifier: Apache-2.0
"""Kernel stacks of events: below the rows of a table, and folded for flame graphs."""

from collections import Counter
from collections.abc import Callable, Iterator

from exporter.trace.output import Output
from exporter.trace.selection import EXIT_KINDS
from exporter.trace.table import comm_of, printable
from probes.events import Event, Kind
from probes.observation import Observation
from probes.recording.gaps import Gap

FramesOf = Callable[[Event], tuple[str, ...]]
"""Returns the frames of an event's stack, innermost first; empty if the kernel gave none."""

MISSED = "[missed kernel stack]"

_INDENT = " " * 8
_PAGE_EXITS = (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT)


class WithStacks(Output):
    """Another output with the stack of each operation and batch below its exit."""

    def __init__(self, output: Output, frames_of: FramesOf) -> None:
        self._output = output
        self._frames_of = frames_of
        self.observes = output.observes

    def head(self) -> Iterator[str]:
        """Lines before the first event."""
        return self._output.head()

    def event(self, event: Event) -> Iterator[str]:
        """Lines of one event."""
        yield from self._output.event(event)
        if event.kind in EXIT_KINDS:
            for frame in self._frames_of(event) or (MISSED,):
                yield f"{_INDENT}{printable(frame)}"

    def gap(self, gap: Gap) -> Iterator[str]:
        """Lines in place of lost events."""
        return self._output.gap(gap)

    def observed(self, seen: Observation) -> Iterator[str]:
        """Lines of an observation."""
        return self._output.observed(seen)

    def tail(self) -> Iterator[str]:
        """Lines after the last event."""
        return self._output.tail()


def calls(_event: Event) -> int:
    """Weigh every operation the same."""
    return 1


def microseconds(event: Event) -> int:
    """Weigh an operation by its latency."""
    return round(event.duration_ns / 1000)


class Folded(Output):
    """One line per different stack at the end, as flamegraph.pl and speedscope read it.

    ``comm;outermost;...;innermost WEIGHT``. Batches are not counted, but their functions are in the
    stacks of their pages.
    """

    def __init__(self, frames_of: FramesOf, weight: Callable[[Event], int]) -> None:
        self._frames_of = frames_of
        self._weight = weight
        self._weights: Counter[str] = Counter()

    def event(self, event: Event) -> Iterator[str]:
        """Count the end of an operation; yield nothing."""
        if event.kind in _PAGE_EXITS:
            functions = [frame.partition("+")[0] for frame in self._frames_of(event)] or [MISSED]
            names = (comm_of(event), *reversed(functions))
            stack = ";".join(printable(name).replace(";", ":") for name in names)
            self._weights[stack] += self._weight(event)
        return iter(())

    def tail(self) -> Iterator[str]:
        """Yield all stacks, in alphabetical order."""
        for stack, weight in sorted(self._weights.items()):
            yield f"{stack} {weight}"
