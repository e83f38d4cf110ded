# SPDX-License-Identifier: Apache-2.0
"""The thread between a backend's stream and a slow consumer."""

import threading
from collections.abc import Iterable, Iterator

import pytest

from probes.backend import BackendError
from probes.recording.pump import Pump
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel


class Scripted(SimBackend):
    """A backend whose stream is given beforehand."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        super().__init__(SimKernel())
        self._blocks = blocks
        self.given = 0
        self.done = threading.Event()

    def records(self) -> Iterator[bytes]:
        for block in self._blocks:
            yield block
            self.given += 1
        self.done.set()


def everything(pump: Pump) -> bytes:
    taken = b""
    while not pump.ended:
        taken += pump.take(10)
    return taken


def test_all_records_come_in_order() -> None:
    blocks = [bytes([number]) * 96 for number in range(200)]
    assert everything(Pump(Scripted(blocks))) == b"".join(blocks)


def test_it_hears_of_quiet_once() -> None:
    backend = Scripted([b"x" * 96, b""])
    pump = Pump(backend)
    assert everything(pump) == b"x" * 96
    assert (pump.quiet(), pump.quiet()) == (True, False)


def test_what_breaks_the_stream_reaches_the_consumer_after_what_came_before() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 96
        raise BackendError("damaged")

    pump = Pump(Scripted(broken()))
    taken = b""
    with pytest.raises(BackendError, match="damaged"):
        while True:
            taken += pump.take(10)
    assert taken == b"x" * 96


def test_a_slow_consumer_holds_the_backend_back_and_loses_nothing() -> None:
    blocks = [bytes([number]) * 96 for number in range(23)]
    backend = Scripted(blocks)
    pump = Pump(backend, most_bytes=5 * 96)
    first = pump.take(10)
    assert backend.given <= 5 + len(first) // 96
    assert first + everything(pump) == b"".join(blocks)


def test_close_lets_a_backend_go_that_was_held_back() -> None:
    backend = Scripted([b"x" * 96] * 23)
    pump = Pump(backend, most_bytes=96)
    pump.close()
    pump.take(10)
    assert not backend.done.is_set()
    while not pump.ended:
        pump.take(10)
