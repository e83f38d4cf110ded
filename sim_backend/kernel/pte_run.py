# SPDX-License-Identifier: Apache-2.0
"""The events of a run of PTEs, which are most of all events, without an object for each."""

from collections.abc import Iterator
from typing import NamedTuple

from probes.events import FIELDS, RECORD, Event
from sim_backend.kernel.progression import WORD, progression

_WORDS_PER_RECORD = RECORD.size // WORD
# These four are words and stand first, so a field's place is its word.
_TIMESTAMP, _SEQUENCE, _START, _END = (
    [name for name, _ in FIELDS].index(name)
    for name in ("timestamp_ns", "sequence", "start", "end")
)


class PteRun(NamedTuple):
    """``pages`` events like ``first``: each of the next page, the next in sequence, and later."""

    first: Event
    pages: int
    each_ns: int
    """Time from one to the next."""

    def events(self) -> Iterator[Event]:
        """One by one."""
        first = self.first
        page_size = first.end - first.start
        for i in range(self.pages):
            yield first._replace(
                timestamp_ns=first.timestamp_ns + i * self.each_ns,
                sequence=first.sequence + i,
                start=first.start + i * page_size,
                end=first.end + i * page_size,
            )

    def pack(self) -> bytearray:
        """The records of all events, back to back."""
        first, count = self.first, self.pages
        records = bytearray(first.pack()) * count
        words = memoryview(records).cast("Q")
        times = progression(first.timestamp_ns, self.each_ns, count)
        addresses = progression(first.start, first.end - first.start, count + 1)
        for place, values in (
            (_TIMESTAMP, times),
            (_SEQUENCE, progression(first.sequence, 1, count)),
            (_START, addresses[:-WORD]),
            (_END, addresses[WORD:]),
        ):
            words[place::_WORDS_PER_RECORD] = memoryview(values).cast("Q")
        return records
