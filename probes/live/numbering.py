# SPDX-License-Identifier: Apache-2.0
"""Assign sequence numbers to records from the ring buffer, per CPU, with gaps for lost records.

The BPF program can't number them, because under a trampoline two tasks of one CPU could take the
same number. Instead, each record has the number of records that its CPU had lost before it
(``hvo_stream.h``, fill).
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
    """Numbers the records of one ring buffer, from its first record on."""

    def __init__(self) -> None:
        """Start at number 0 on every CPU, with no lost records."""
        self._next: dict[int, count[int]] = defaultdict(count)
        self._lost: dict[int, int] = {}

    def number(self, records: bytes) -> bytes:
        """Replace the lost count in each record's ``sequence`` by the record's number."""
        words = array("Q", records)
        lost = words[_SEQUENCE::_WORDS]
        cpus = array("H", records)[_CPU::_HALVES]
        # Fast path, ten times as fast: no CPU lost records since the last block.
        if set(zip(cpus, lost, strict=True)) <= self._lost.items():
            numbers: Iterator[int] = map(next, map(self._next.__getitem__, cpus))
        else:
            numbers = starmap(self._take_number, zip(cpus, lost, strict=True))
        words[_SEQUENCE::_WORDS] = array("Q", numbers)
        return words.tobytes()

    def _take_number(self, cpu: int, lost: int) -> int:
        """Return the next number of ``cpu``; ``lost`` may be lower than before and is then ignored.

        Records may arrive out of order, but the number of lost records never decreases.
        """
        known = self._lost.setdefault(cpu, 0)
        if lost > known:
            self._next[cpu] = count(next(self._next[cpu]) + lost - known)
            self._lost[cpu] = lost
        return next(self._next[cpu])
