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
    """Return an event as the BPF program writes it."""
    return Event(kind=Kind.REMAP_PTE, cpu=cpu, sequence=lost_before, start=cpu << 12)


def numbers(numbering: Numbering, records: Iterable[Event]) -> list[int]:
    block = b"".join(event.pack() for event in records)
    return [event.sequence for event in unpack_all(numbering.number(block))]


def test_each_cpu_is_numbered_separately() -> None:
    numbering = Numbering()
    assert numbers(numbering, [written(3, 0), written(3, 0), written(511, 0)]) == [0, 1, 0]
    assert numbers(numbering, [written(511, 0), written(3, 0)]) == [1, 2]
    assert numbers(numbering, []) == []


def test_lost_records_are_a_gap() -> None:
    numbering = Numbering()
    assert numbers(numbering, [written(0, 0), written(0, 23), written(1, 0)]) == [0, 24, 0]
    assert numbers(numbering, [written(0, 23), written(0, 25)]) == [25, 28]


def test_records_written_before_a_loss_may_arrive_after_it() -> None:
    assert numbers(Numbering(), [written(0, 10), written(0, 0), written(0, 10)]) == [10, 11, 12]


def test_only_the_sequence_field_is_changed() -> None:
    event = Event(2**64 - 1, 7, 1, 2, 3, 4, -12, 5, 6, 7, 8, 9, 65535, -1, 4, 18, 4, comm=b"sysctl")
    (numbered,) = unpack_all(Numbering().number(event.pack()))
    assert numbered == event._replace(sequence=7)


@given(st.randoms(), st.lists(st.sampled_from(("write", "deliver", "lose")), max_size=60))
def test_received_and_missing_records_add_up(chosen: random.Random, actions: list[str]) -> None:
    """Holds for every order of delivery, and for tasks that migrate between CPUs.

    Batches are filled at one time and sent at another; a loss is counted on the sending CPU.
    """
    lost: Counter[int] = Counter()
    sent = 0
    batches: list[list[Event]] = []
    numbering, finder = Numbering(), GapFinder()
    received = 0

    def deliver(batch: list[Event]) -> None:
        nonlocal received
        block = numbering.number(b"".join(event.pack() for event in batch))
        list(finder.gaps(block))
        received += len(batch)

    for action in actions:
        if action == "write":
            cpus = [chosen.randrange(3) for _ in range(chosen.randint(1, 16))]
            batches.append([written(cpu, lost[cpu]) for cpu in cpus])
            sent += len(batches[-1])
        elif batches:
            batch = batches.pop(chosen.randrange(len(batches)))
            if action == "deliver":
                deliver(batch)
            else:
                lost[chosen.randrange(3)] += len(batch)
    for batch in batches:
        deliver(batch)
    for cpu in range(3):  # the last record of a CPU reveals all losses before it
        deliver([written(cpu, lost[cpu])])
    assert received + finder.events == sent + 3
