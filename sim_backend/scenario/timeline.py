# SPDX-License-Identifier: Apache-2.0
"""What happens when: the steps of a scenario file, put in order and drawn from a seed."""

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from probes.operations import Operation
from sim_backend.scenario.actions import Action, Step, parse_action

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class Line:
    """One line of ``do``: an action in which ``A..B`` stands for any number from A to B."""

    text: str
    where: str
    """File and line."""

    def draw(self, random: Random) -> Operation | Action:
        """The action with its numbers drawn; raises ``ValueError``."""
        text = _RANGE.sub(lambda m: str(random.randint(int(m[1]), int(m[2]))), self.text)
        return _parse(text)


@lru_cache(maxsize=4096)
def _parse(text: str) -> Operation | Action:
    """Most lines come again and again."""
    return parse_action(text)


@dataclass(frozen=True)
class Entry:
    """One ``[[step]]``. Times are in seconds since the scenario began."""

    at: float
    lines: tuple[Line, ...]
    every: tuple[float, float] | None
    """Shortest and longest time between repetitions; None: it happens once."""
    until: float
    """No repetition is later."""
    may_fail: bool


def parse_time(text: str) -> float:
    """Read ``90s``, ``10m``, ``2h`` or ``1d`` as seconds; ``ValueError`` if it is none."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no time (write it like 90s, 10m, 2h or 1d)")
    return float(match[1]) * _UNITS[match[2]]


def to_time(seconds: float) -> str:
    """Write ``seconds`` as ``parse_time`` reads it, in the largest unit that leaves no rest."""
    unit = next(u for u in "dhms" if seconds % _UNITS[u] == 0 or u == "s")
    return f"{seconds / _UNITS[unit]:g}{unit}"


def parse_interval(text: str) -> tuple[float, float]:
    """Read ``30s`` or ``20s..40s``; ``ValueError`` if it is neither."""
    first, dots, last = text.partition("..")
    low = parse_time(first)
    high = parse_time(last) if dots else low
    if not 0 < low <= high:
        raise ValueError(f"{text!r}: an interval is longer than 0, and ends after it begins")
    return low, high


def check_line(text: str) -> str:
    """Return ``text`` if it is an action, whatever its numbers turn out to be."""
    for low, high in _RANGE.findall(text):
        if int(low) > int(high):
            raise ValueError(f"{text!r}: {low}..{high} ends before it begins")
    for end in (r"\1", r"\2"):
        parse_action(_RANGE.sub(end, text))
    return text


def seeded(seed: int) -> Random:
    """The numbers of a scenario."""
    return Random(seed)  # noqa: S311 - a scenario is no secret


def timeline(entries: Sequence[Entry], random: Random, start: float) -> Iterator[Step]:
    """Yield all steps in the order of their times, those of one time in the order of the file.

    ``start`` seconds have passed already when the scenario begins, for the first step to wait for.
    """
    due = [(entry.at, index) for index, entry in enumerate(entries)]
    heapq.heapify(due)
    now = -start
    while due:
        at, index = heapq.heappop(due)
        entry = entries[index]
        for line in entry.lines:
            yield Step(at - now, line.draw(random), entry.may_fail, line.where)
            now = at
        if entry.every is not None:
            again = at + random.uniform(*entry.every)
            if again <= entry.until:
                heapq.heappush(due, (again, index))
