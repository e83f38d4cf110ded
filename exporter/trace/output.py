# SPDX-License-Identifier: Apache-2.0
"""An output format of the event stream: what its lines are."""

from collections.abc import Iterator
from heapq import merge

from exporter.trace.selection import Selection
from probes.events import Event
from probes.observation import Observation
from probes.recording.gaps import Gap, GapFinder


class Output:
    """Yields lines, without their ends; the base class yields none."""

    observes = False
    """Whether ``observed`` is to be called."""

    def head(self) -> Iterator[str]:
        """Lines before the first event."""
        return iter(())

    def event(self, _event: Event) -> Iterator[str]:
        """Lines of one event."""
        return iter(())

    def gap(self, _gap: Gap) -> Iterator[str]:
        """Lines in place of lost events."""
        return iter(())

    def observed(self, _seen: Observation) -> Iterator[str]:
        """Lines of an observation that was made after the events before it."""
        return iter(())

    def tail(self) -> Iterator[str]:
        """Lines after the last event."""
        return iter(())


def events_and_gaps(
    block: bytes, page_size: int, selection: Selection, finder: GapFinder
) -> Iterator[Event | Gap]:
    """Yield the selected events of the next block, and every gap in its place."""
    gaps: Iterator[tuple[int, Event | Gap]] = finder.gaps(block)
    events: Iterator[tuple[int, Event | Gap]] = selection.of(block, page_size)
    return (what for _, what in merge(gaps, events, key=lambda numbered: numbered[0]))
