# SPDX-License-Identifier: Apache-2.0
import random
from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from probes.events import Event, Kind, unpack_all
from probes.live.numbering import Numbering
from probes.recording.gaps import GapFinder


def written(cpu: int, lost_before: int) -> Event:
    """As the program writes it."""
    return Event(kind=Kind.REMAP_PTE, cpu=cpu, sequence=lost_before, start=cpu << 12)


def numbers(numbering: Numbering, records: Iterable[Event]) -> list[int]:
    block = b"".join(event.pack() for event in records)
    return [event.sequence for event in unpack_all(numbering.number(block))]


def test_each_cpu_counts_its_own() -> None:
    numbering = Numbering()
    assert numbers(numbering, [written(3, 0), written(3, 0), written(511, 0)]) == [0, 1, 0]
    assert numbers(numbering, [written(511, 0), written(3, 0)]) == [1, 2]
    assert numbers(numbering, []) == []


def test_what_was_lost_is_a_gap() -> None:
    numbering = Numbering()
    assert numbers(numbering, [written(0, 0), written(0, 23), written(1, 0)]) == [0, 24, 0]
    assert numbers(numbering, [written(0, 23), written(0, 25)]) == [25, 28]


def test_what_was_written_before_a_loss_may_come_after_it() -> None:
    assert numbers(Numbering(), [written(0, 10), written(0, 0), written(0, 10)]) == [10, 11, 12]


def test_nothing_but_the_number_is_changed() -> None:
    event = Event(2**64 - 1, 7, 1, 2, 3, 4, -12, 5, 6, 7, 8, 9, 65535, -1, 4, 18, 4, comm=b"sysctl")
    (numbered,) = unpack_all(Numbering().number(event.pack()))
    assert numbered == event._replace(sequence=7)


@given(st.randoms(), st.lists(st.sampled_from(("write", "deliver", "lose")), max_size=60))
def test_received_and_missing_are_what_was_sent(chosen: random.Random, steps: list[str]) -> None:
    """However tasks overtake each other, and move from CPU to CPU.

    Parcels are filled at one time and sent at another; who sends it has lost it.
    """
    lost: Counter[int] = Counter()
    sent = 0
    parcels: list[list[Event]] = []
    numbering, finder = Numbering(), GapFinder()
    came = 0

    def deliver(parcel: list[Event]) -> None:
        nonlocal came
        block = numbering.number(b"".join(event.pack() for event in parcel))
        list(finder.gaps(block))
        came += len(parcel)

    for step in steps:
        if step == "write":
            cpus = [chosen.randrange(3) for _ in range(chosen.randint(1, 16))]
            parcels.append([written(cpu, lost[cpu]) for cpu in cpus])
            sent += len(parcels[-1])
        elif parcels:
            parcel = parcels.pop(chosen.randrange(len(parcels)))
            if step == "deliver":
                deliver(parcel)
            else:
                lost[chosen.randrange(3)] += len(parcel)
    for parcel in parcels:
        deliver(parcel)
    for cpu in range(3):  # what comes last shows every loss before it
        deliver([written(cpu, lost[cpu])])
    assert came + finder.events == sent + 3
