# SPDX-License-Identifier: Apache-2.0
"""Number the records that came through the ring, on each CPU without gaps but for lost ones.

The kernel's side could not: under a trampoline, two tasks of one CPU may both be about to take the
next number. Each record says instead how many its CPU had lost until then (``hvo_stream.h``, fill).
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, starmap

from probes.events import RECORD, offset_of

_WORD = 8
_HALF = 2
_SEQUENCE, _WORDS = offset_of("sequence") // _WORD, RECORD.size // _WORD
_CPU, _HALVES = offset_of("cpu") // _HALF, RECORD.size // _HALF


class Numbering:
    """Follows one ring from its first record on."""

    def __init__(self) -> None:
        """Nothing has come, and nothing is lost."""
        self._next: dict[int, count[int]] = defaultdict(count)
        self._lost: dict[int, int] = {}

    def number(self, records: bytes) -> bytes:
        """Put each record's number in the place of its CPU's losses."""
        words = array("Q", records)
        lost = words[_SEQUENCE::_WORDS]
        cpus = array("H", records)[_CPU::_HALVES]
        if (
            set(zip(cpus, lost, strict=True)) <= self._lost.items()
        ):  # the rule, and ten times faster
            numbers: Iterator[int] = map(next, map(self._next.__getitem__, cpus))
        else:
            numbers = starmap(self._take_number, zip(cpus, lost, strict=True))
        words[_SEQUENCE::_WORDS] = array("Q", numbers)
        return words.tobytes()

    def _take_number(self, cpu: int, lost: int) -> int:
        """A record may come after others that were written later: what is lost never falls."""
        known = self._lost.setdefault(cpu, 0)
        if lost > known:
            self._next[cpu] = count(next(self._next[cpu]) + lost - known)
            self._lost[cpu] = lost
        return next(self._next[cpu])
