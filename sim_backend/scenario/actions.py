# SPDX-License-Identifier: Apache-2.0
"""What can happen to a simulated machine: operations, and what no operator would ask for.

Beside the operations of ``probes.operations``, one line each:

* ``resize 2MB 512``: grow or shrink the pool to so many pages; 0 empties it.
* ``take 2MB 23``, ``give 2MB 23``: tasks map huge pages and keep them (from the pool as long as it
  has some, then surplus), and unmap them again.
* ``reserve 2MB 5``, ``unreserve 2MB 5``: a task maps huge pages and touches none (what the pool
  lacks is allocated as surplus), and unmaps them again.
* ``dissolve 2MB 1``: free huge pages break up, lowest address first, as after a memory error.
* ``pressure 20KB``: something else takes all memory but so much of each node; ``pressure off``.
* ``fragment 1MB``: half of the free memory goes, so that what is left lies in pieces of this size;
  ``pressure off`` ends it.

and faults of the observer, ``STEP`` being one of ``probes.backend.STEPS``:

* ``detach STEP``: its probe is gone until the next ``restart``.
* ``miss STEP 5``: its probe misses the next 5 hits.
* ``lose 100``: the event stream loses the next 100 records.
* ``restart``: the daemon restarts: every probe is attached, every counter is 0.
* ``clock +3600``: the clock steps by so many seconds; ``clock -5`` steps it back.
* ``slow x8``: everything takes eight times as long; ``slow x1`` ends it.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from probes.backend import STEPS
from probes.geometry import parse_size, size_label
from probes.operations import POOL_VERBS, SWITCH_VERB, Operation, parse_operation

_FACTOR = re.compile(r"x(\d+(?:\.\d+)?)")
_SECONDS = re.compile(r"[+-]\d+(?:\.\d+)?")
_COUNT = re.compile(r"\d+")

# Event records have 64 bits for ns, 584 years.
_MOST_SECONDS = 10**9
_MOST_TIMES = 10**6


class Action(NamedTuple):
    """Anything but an operation; which fields mean something depends on the verb."""

    verb: str
    step: str = ""
    """Whose probe."""
    size: int = 0
    """Bytes: of a huge page, or of memory."""
    amount: float = 0
    """Pages, hits, records, seconds or the factor."""

    def __str__(self) -> str:
        """Write it as it is read."""
        return " ".join((self.verb, *_SHAPES[self.verb].words(self)))


class Step(NamedTuple):
    """One action of a scenario, in its time."""

    seconds: float
    """To wait before it, in simulated time."""
    action: Operation | Action
    may_fail: bool = False
    """Whether it is fine if all of it, or a part, turns out to be impossible."""
    where: str = ""
    """File and line, for messages."""


class _Shape(NamedTuple):
    """How the words after a verb are read and written."""

    example: str
    read: Callable[..., Action]
    """Takes the verb and its words; raises ``ValueError`` or, on too many or few, ``TypeError``."""
    words: Callable[[Action], tuple[str, ...]]


def parse_action(text: str) -> Operation | Action:
    """Read one line; ``ValueError`` names what is wrong with it."""
    verb, *words = text.split() or [""]
    shape = _SHAPES.get(verb)
    if shape is None:
        if verb in (*POOL_VERBS, SWITCH_VERB):
            return parse_operation(text)
        known = ", ".join((*POOL_VERBS, SWITCH_VERB, *_SHAPES))
        raise ValueError(f"{text!r}: nothing is called {verb!r} (there are {known})")
    if len(words) != len(shape.example.split()) - 1:
        raise ValueError(f"{text!r}: write it like '{shape.example}'")
    try:
        return shape.read(verb, *words)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error} (write it like '{shape.example}')") from None


def _count(text: str, least: int = 1) -> int:
    if not _COUNT.fullmatch(text) or int(text) < least:
        raise ValueError(f"the count must be a whole number from {least} on, not {text!r}")
    return int(text)


def _step(text: str) -> str:
    if text not in STEPS:
        raise ValueError(f"no step is called {text!r}; there are {', '.join(STEPS)}")
    return text


def _read_clock(verb: str, text: str) -> Action:
    if not _SECONDS.fullmatch(text):
        raise ValueError(f"{text!r} is no number of seconds with its sign")
    if abs(float(text)) > _MOST_SECONDS:
        raise ValueError(f"{text!r} is further than {_MOST_SECONDS} s")
    return Action(verb, amount=float(text))


def _read_slow(verb: str, text: str) -> Action:
    match = _FACTOR.fullmatch(text)
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no factor above 0")
    if float(match[1]) > _MOST_TIMES:
        raise ValueError(f"{text!r} is more than x{_MOST_TIMES}")
    return Action(verb, amount=float(match[1]))


def _read_pages(verb: str, size: str, pages: str) -> Action:
    return Action(verb, size=parse_size(size), amount=_count(pages))


def _read_resize(verb: str, size: str, pages: str) -> Action:
    return Action(verb, size=parse_size(size), amount=_count(pages, least=0))


def _read_pressure(verb: str, leave: str) -> Action:
    return Action(verb, size=0 if leave == "off" else parse_size(leave))


def _pages_words(action: Action) -> tuple[str, ...]:
    return size_label(action.size), f"{action.amount:.0f}"


_SHAPES: Mapping[str, _Shape] = {
    "resize": _Shape("resize 2MB 512", _read_resize, _pages_words),
    "take": _Shape("take 2MB 23", _read_pages, _pages_words),
    "give": _Shape("give 2MB 23", _read_pages, _pages_words),
    "reserve": _Shape("reserve 2MB 5", _read_pages, _pages_words),
    "unreserve": _Shape("unreserve 2MB 5", _read_pages, _pages_words),
    "dissolve": _Shape("dissolve 2MB 1", _read_pages, _pages_words),
    "pressure": _Shape(
        "pressure 20KB",
        _read_pressure,
        lambda a: (size_label(a.size) if a.size else "off",),
    ),
    "fragment": _Shape(
        "fragment 1MB",
        lambda verb, size: Action(verb, size=parse_size(size)),
        lambda a: (size_label(a.size),),
    ),
    "detach": _Shape(
        "detach remap_pte",
        lambda verb, step: Action(verb, _step(step)),
        lambda a: (a.step,),
    ),
    "miss": _Shape(
        "miss remap_pte 5",
        lambda verb, step, hits: Action(verb, _step(step), amount=_count(hits)),
        lambda a: (a.step, f"{a.amount:.0f}"),
    ),
    "lose": _Shape(
        "lose 100",
        lambda verb, records: Action(verb, amount=_count(records)),
        lambda a: (f"{a.amount:.0f}",),
    ),
    "restart": _Shape("restart", Action, lambda a: ()),
    "clock": _Shape("clock +3600", _read_clock, lambda a: (f"{a.amount:+g}",)),
    "slow": _Shape("slow x8", _read_slow, lambda a: (f"x{a.amount:g}",)),
}

ACTION_VERBS = tuple(_SHAPES)
"""First words of the lines that are no operations."""
