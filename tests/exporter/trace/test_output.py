# SPDX-License-Identifier: Apache-2.0
from exporter.trace.output import events_and_gaps
from exporter.trace.selection import Selection
from probes.events import Event, Kind
from probes.recording.gaps import Gap, GapFinder

EXIT = Event(kind=Kind.OPTIMIZE_EXIT, order=9)


def test_gaps_are_in_their_place() -> None:
    block = b"".join(
        EXIT._replace(cpu=cpu, sequence=sequence).pack()
        for cpu, sequence in ((3, 0), (3, 1), (1, 0), (3, 5), (1, 23))
    )
    finder = GapFinder()
    found = list(events_and_gaps(block, 4096, Selection(), finder))
    gaps = [(number, what) for number, what in enumerate(found) if isinstance(what, Gap)]
    assert gaps == [(3, Gap(3, 3)), (5, Gap(1, 22))]
    assert finder.events == 25
    later = EXIT._replace(cpu=1, sequence=24).pack() + EXIT._replace(cpu=2, sequence=9).pack()
    found = list(events_and_gaps(later, 4096, Selection(failed=True), finder))
    assert found == [Gap(2, 9)]
