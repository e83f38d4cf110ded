# SPDX-License-Identifier: Apache-2.0
"""What is optimized now, as a backend of every generation says it: held against the flags."""

from collections.abc import Iterator

import pytest

from probes.counters import PageKey
from probes.geometry import GIB, MIB
from probes.observation import Absent, Census, known
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.generation import GENERATIONS
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Action

OPERATIONS = (
    "grow 2MB 23",
    "hvo off",
    "grow 2MB 11",
    "hvo on",
    "shrink 2MB 29",
    "overcommit 2MB 5",
    "grow 1GB 1",
    "demote 1GB 1",
    "shrink 2MB 509",
)
COPIES_FLAGS = frozenset({"6.12.114", "6.18.51"})
"""Here the flags of a demoted page's parts are wrong, so the count and a census differ."""


def observed(backend: SimBackend) -> Census:
    census = known(backend.observe().census)
    assert census is not None
    return census


def after_each(backend: SimBackend) -> Iterator[str]:
    for text in OPERATIONS:
        backend.operate(parse_operation(text))
        yield text


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_count_is_what_the_flags_say_boot_pages_included(name: str) -> None:
    kernel = SimKernel(name, nodes=2, hugepages={2 * MIB: 37, GIB: 1})
    backend = SimBackend(kernel)
    backend.start()
    feature = bool(kernel.census().frames_each[9])
    assert sum(observed(backend).optimized.values()) == (38 if feature else 0)
    for operation in after_each(backend):
        if name in COPIES_FLAGS and operation.startswith("demote"):
            assert observed(backend).optimized != kernel.census().optimized
            return
        assert observed(backend).optimized == kernel.census().optimized, operation
    backend.restart()
    assert observed(backend).optimized == kernel.census().optimized
    backend.stop()


@pytest.mark.parametrize(
    ("name", "each"), [("v17", 0), ("v17-enabled", 6), ("5.14", 6), ("6.1", 7), ("7.3", 7)]
)
def test_saved_frames_are_what_the_kernel_accounts(name: str, each: int) -> None:
    kernel = SimKernel(name)
    backend = SimBackend(kernel)
    backend.start()
    before = sum(kernel.memmap_pages().values())
    backend.operate(parse_operation("grow 2MB 509"))
    census = observed(backend)
    assert census.saved_frames() == before - sum(kernel.memmap_pages().values()) == 509 * each
    assert census.possible_frames(9, 1009) == 1009 * each
    backend.stop()


def test_a_dropped_hit_ends_the_count_and_a_restart_brings_it_back() -> None:
    kernel = SimKernel("6.7", hugepages={2 * MIB: 37})
    backend = SimBackend(kernel)
    backend.start()
    backend.perform(Action("miss", "optimize", amount=3))
    backend.operate(parse_operation("grow 2MB 23"))
    assert isinstance(backend.observe().census, Absent)
    backend.restart()
    assert observed(backend).optimized[PageKey(9, 0)] == 60
    backend.stop()


def test_a_detached_probe_has_no_count() -> None:
    backend = SimBackend(SimKernel("6.7"))
    backend.start()
    backend.perform(Action("detach", "restore"))
    assert isinstance(backend.observe().census, Absent)
    backend.stop()
