# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from datetime import datetime

import pytest

from exporter.trace.times import Clock, UnknownStartError, times_of
from probes.backend import Info, Start

_WALL_NS = 1_764_000_000_123_456_789
INFO = Info("bcc", "6.1", "full", 4096, start=Start(_WALL_NS, 50 * 10**9, 60 * 10**9))
_EVENT_NS = 61_500_000_000


def test_the_kernels_clock() -> None:
    times = times_of(Clock.KERNEL, replace(INFO, start=None))
    assert (times.title, times.text(_EVENT_NS)) == ("TIME(s)", "61.500000")


def test_seconds_since_the_start_are_of_the_events_clock() -> None:
    assert times_of(Clock.ELAPSED, INFO).text(_EVENT_NS) == "1.500000"


def test_the_wall_clock_is_local() -> None:
    then = datetime.fromtimestamp(1_764_000_001).astimezone()
    times = times_of(Clock.WALL, INFO)
    assert (times.title, times.text(_EVENT_NS)) == ("TIME", f"{then:%H:%M:%S}.623456")


@pytest.mark.parametrize("clock", [Clock.ELAPSED, Clock.WALL])
@pytest.mark.parametrize("start", [None, Start(_WALL_NS, 50 * 10**9, None)])
def test_an_unknown_start_is_not_guessed(clock: Clock, start: Start | None) -> None:
    with pytest.raises(UnknownStartError, match="does not tell when its simulated clock started"):
        times_of(clock, replace(INFO, start=start))
