# SPDX-License-Identifier: Apache-2.0
"""The buffering thread between a backend's stream and a slow consumer."""

import threading
from collections.abc import Iterable, Iterator

import pytest

from probes.backend import BackendError
from probes.recording.pump import Pump
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel


class Scripted(SimBackend):
    """A backend with a predefined stream."""

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


def test_all_records_arrive_in_order() -> None:
    blocks = [bytes([number]) * 96 for number in range(200)]
    assert everything(Pump(Scripted(blocks))) == b"".join(blocks)


def test_quiet_is_true_once_per_empty_block() -> None:
    backend = Scripted([b"x" * 96, b""])
    pump = Pump(backend)
    assert everything(pump) == b"x" * 96
    assert (pump.quiet(), pump.quiet()) == (True, False)


def test_an_error_of_the_stream_is_raised_after_the_records_before_it() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 96
        raise BackendError("damaged")

    pump = Pump(Scripted(broken()))
    taken = b""
    with pytest.raises(BackendError, match="damaged"):
        while True:
            taken += pump.take(10)
    assert taken == b"x" * 96


def test_a_slow_consumer_stalls_the_backend_and_loses_nothing() -> None:
    blocks = [bytes([number]) * 96 for number in range(23)]
    backend = Scripted(blocks)
    pump = Pump(backend, max_bytes=5 * 96)
    first = pump.take(10)
    assert backend.given <= 5 + len(first) // 96
    assert first + everything(pump) == b"".join(blocks)


def test_close_releases_a_stalled_backend() -> None:
    backend = Scripted([b"x" * 96] * 23)
    pump = Pump(backend, max_bytes=96)
    pump.close()
    pump.take(10)
    assert not backend.done.is_set()
    while not pump.ended:
        pump.take(10)
