# SPDX-License-Identifier: Apache-2.0
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.bpf.handover import (
    Handover,
    Request,
    receive_go,
    receive_handover,
    receive_request,
    send_go,
    send_handover,
    send_request,
)
from probes.kernel.host import Host
from probes.observation import ProbeStatus

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_request_is_received_as_it_was_sent(pair: Pair) -> None:
    host = Host(Path("/p"), Path("/s"), Path("/m"), "6.1.0-test")
    asked = Request.of(host, mode="range", attach="fentry", stream=True, cache=Path("/c"))
    send_request(pair[0], asked)
    received = receive_request(pair[1])
    assert received is not None
    assert (received.mode, received.attach, received.stream) == ("range", "fentry", True)
    assert received.host == host
    assert received.cache_folder == Path("/c")


def test_a_loader_goes_on_only_when_told(pair: Pair) -> None:
    send_go(pair[0])
    assert receive_go(pair[1])
    pair[0].close()
    assert not receive_go(pair[1])


def test_receive_request_is_none_if_the_daemon_ended(pair: Pair) -> None:
    pair[0].close()
    assert receive_request(pair[1]) is None


def test_received_descriptors_are_open_until_the_handover_is_closed(pair: Pair) -> None:
    read_end, write_end = os.pipe()
    sent = Handover(
        probes=[ProbeStatus("remap_pte", True, "vmemmap_remap_pte", "kprobe")],
        orders=(9, 18),
        nodes=2,
        cpus=4,
        stream_bytes=4096,
        descriptors={"counters": write_end},
    )
    send_handover(pair[1], sent)
    received = receive_handover(pair[0])
    assert received is not None
    assert received.probes == sent.probes
    assert (received.orders, received.nodes, received.cpus) == ((9, 18), 2, 4)
    assert not os.get_inheritable(received.descriptors["counters"])
    os.write(received.descriptors["counters"], b"x")
    assert os.read(read_end, 1) == b"x"
    sent.close()
    received.close()
    assert received.descriptors == {}
    assert os.read(read_end, 1) == b""  # both copies of the writing end are closed
    os.close(read_end)


def test_receive_handover_is_none_if_the_loader_died(pair: Pair) -> None:
    pair[1].close()
    assert receive_handover(pair[0]) is None
