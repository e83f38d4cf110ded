# SPDX-License-Identifier: Apache-2.0
"""Three ways to show an event's time: the kernel's clock, seconds since the start, wall clock."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from exporter.units import local_time
from probes.backend import Info


class Clock(Enum):
    """Which clock to show."""

    KERNEL = "kernel"
    """CLOCK_MONOTONIC, as in dmesg; a simulated kernel's own clock."""
    ELAPSED = "elapsed"
    """Since the trace or the recording started."""
    WALL = "wall"
    """Local time of day."""


class UnknownStartError(ValueError):
    """The source does not tell when its clock started; the message is one line."""


class Times(NamedTuple):
    """Times of one source in one clock."""

    clock: Clock
    title: str
    """Of the column."""
    text: Callable[[int], str]
    """Formats a time of the events' clock, in ns, in at most 15 characters up to 3 years."""


def times_of(clock: Clock, info: Info) -> Times:
    """Return how to format the times of a started source. Raises ``UnknownStartError``."""
    if clock is Clock.KERNEL:
        return Times(clock, "TIME(s)", _seconds)
    if info.start is None or info.start.events_ns is None:
        raise UnknownStartError(
            "-t, -T: this recording does not tell when its simulated clock started"
        )
    start_ns, wall_ns = info.start.events_ns, info.start.wall_ns
    if clock is Clock.ELAPSED:
        return Times(clock, "TIME(s)", lambda ns: _seconds(ns - start_ns))
    return Times(clock, "TIME", lambda ns: _time_of_day(ns - start_ns + wall_ns))


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.6f}"


def _time_of_day(ns: int) -> str:
    return f"{local_time(ns):%H:%M:%S.%f}"
