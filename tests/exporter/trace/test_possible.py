# SPDX-License-Identifier: Apache-2.0
"""Selections that nothing can match are rejected with the possible values."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.trace.possible import ImpossibleError, check_possible
from exporter.trace.selection import Selection
from probes.backend import Backend
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from tests.probes.trees import make_host

MB, GB = 1 << 20, 1 << 30


@pytest.fixture(scope="module")
def simulated() -> Iterator[Backend]:
    backend = SimBackend(SimKernel("5.14", nodes=2), stream=True)
    backend.start()
    yield backend
    backend.stop()


@pytest.mark.parametrize(
    ("selection", "reported"),
    [
        (Selection(sizes=(3 * MB,)), "--size 3MB: no huge pages of this size (expected 2MB"),
        (Selection(sizes=(2 * MB, 16 * GB)), "--size 16GB: .* (expected 2MB, 1GB)"),
        (Selection(nodes=(0, 2)), "--node 2: .* (expected 0, 1)"),
        (
            Selection(steps=("batch",)),
            "--step batch: not attached: this kernel has no such step (at",
        ),
        (
            Selection(comms=("containerd-shim-runc-v2",)),
            ".*at most 15 bytes (try 'containerd-shim')",
        ),
        (Selection(comms=("*[0-9]-of-the-long-kind",)), "--comm .* at most 15 bytes$"),
        (Selection(pids=(1 << 23,)), "--pid 8388608: no such process or thread"),
    ],
)
def test_an_impossible_selection_is_rejected(
    simulated: Backend, selection: Selection, reported: str
) -> None:
    pattern = reported.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ImpossibleError, match=pattern) as caught:
        check_possible(selection, simulated, Host())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(sizes=(2 * MB, GB), nodes=(1,)),
        Selection(steps=("batch", "optimize")),  # for this kernel and for a newer one
        Selection(comms=("[!]x]*?-containerd", "\\xff" * 8, "*" * 40)),
        Selection(pids=(1001, 1 << 22)),  # simulated tasks have any number
        Selection(failed=True, min_latency_ns=10**9),
    ],
)
def test_a_possible_selection_is_accepted(simulated: Backend, selection: Selection) -> None:
    check_possible(selection, simulated, Host())


def live(host: Host) -> Backend:
    return LiveBackend(host, stream=True)


def test_a_value_that_a_machine_does_not_show_is_accepted(tmp_path: Path) -> None:
    check_possible(Selection(sizes=(3 * MB,), nodes=(7,)), live(make_host(tmp_path, {})), Host())
    host = make_host(
        tmp_path,
        {
            "sys/devices/system/node/online": "0\n",
            "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "many\n",
        },
    )
    check_possible(Selection(sizes=(3 * MB,), nodes=(7,)), live(host), Host())


def test_a_size_that_the_machine_lacks_is_rejected(tmp_path: Path) -> None:
    pool = "sys/devices/system/node/node0/hugepages/hugepages-{}kB/nr_hugepages"
    files = {"sys/devices/system/node/online": "0\n"}
    files |= {pool.format(size): "0\n" for size in (2048, 32768)}
    with pytest.raises(ImpossibleError, match=r"--size 1GB: .* \(expected 2MB, 32MB\)"):
        check_possible(Selection(sizes=(GB,)), live(make_host(tmp_path, files)), Host())


@pytest.mark.parametrize(
    ("namespace", "pid", "known"),
    [
        ("pid:[4026531836]", 509, True),
        ("pid:[4026531836]", 23, False),
        ("pid:[4026532001]", 509, False),  # a container does not see the host's tasks
        ("", 509, False),
    ],
)
def test_a_task_that_does_not_exist_is_rejected(
    tmp_path: Path, namespace: str, pid: int, known: bool
) -> None:
    host = make_host(tmp_path, {"proc/23/stat": "23 (sysctl) R\n", "proc/self/ns/mnt": "\n"})
    if namespace:
        (host.proc / "self/ns/pid").symlink_to(namespace)
    source = live(host)
    if known:
        with pytest.raises(ImpossibleError, match="--pid 509: no such process"):
            check_possible(Selection(pids=(pid,)), source, host)
    else:
        check_possible(Selection(pids=(pid,)), source, host)
