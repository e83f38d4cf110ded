# SPDX-License-Identifier: Apache-2.0
"""The queue of records: in order, bounded, and honest about what it dropped."""

from threading import Thread, Timer
from time import monotonic

from probes.events import RECORD, Event, Kind
from sim_backend.stream import RecordQueue

RECORDS = [Event(sequence=i, kind=Kind.REMAP_PTE).pack() for i in range(12)]


def drained(queue: RecordQueue) -> list[bytes]:
    queue.close()
    return list(queue.blocks(idle_seconds=0.01))


def test_blocks_in_order() -> None:
    queue = RecordQueue(limit=12)
    queue.put(b"".join(RECORDS[:5]))
    queue.put(b"".join(RECORDS[5:]))
    assert drained(queue) == [b"".join(RECORDS[:5]), b"".join(RECORDS[5:])]
    assert queue.lost == 0


def test_what_does_not_fit_is_counted() -> None:
    queue = RecordQueue(limit=7)
    queue.put(b"".join(RECORDS[:5]))
    queue.put(b"".join(RECORDS[5:]))
    queue.put(RECORDS[0])
    assert queue.lost == 6
    assert b"".join(drained(queue)) == b"".join(RECORDS[:7])


def test_reading_makes_room() -> None:
    queue = RecordQueue(limit=5)
    queue.put(b"".join(RECORDS[:5]))
    blocks = queue.blocks(idle_seconds=0.01)
    assert len(next(blocks)) == 5 * RECORD.size
    queue.put(b"".join(RECORDS[5:9]))
    assert next(blocks) == b"".join(RECORDS[5:9])
    assert queue.lost == 0


def test_an_empty_block_when_nothing_happens() -> None:
    blocks = RecordQueue(limit=5).blocks(idle_seconds=0.001)
    assert [next(blocks), next(blocks)] == [b"", b""]


def test_closing_wakes_a_waiting_consumer() -> None:
    queue = RecordQueue(limit=5)
    since = monotonic()
    Timer(0.05, queue.close).start()
    assert list(queue.blocks(idle_seconds=9)) == []
    assert monotonic() - since < 8


def test_a_consumer_in_another_thread() -> None:
    queue = RecordQueue(limit=5)
    seen: list[bytes] = []
    consumer = Thread(target=lambda: seen.extend(queue.blocks(idle_seconds=60)))
    consumer.start()
    queue.put(RECORDS[0])
    queue.close()
    consumer.join(10)
    assert not consumer.is_alive()
    assert seen == [RECORDS[0]]
