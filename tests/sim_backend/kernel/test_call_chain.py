# SPDX-License-Identifier: Apache-2.0
"""Stacks of the simulated kernel are those of the functions that ran."""

import pytest

from probes.events import WITH_STACKS, Kind, unpack_all
from probes.operations import parse_operation
from sim_backend.backend import SimBackend
from sim_backend.kernel.generation import GENERATIONS
from sim_backend.kernel.sim_kernel import SimKernel


def stacks(kernel: str, *operations: str) -> dict[Kind, set[tuple[str, ...]]]:
    """Frames of all events that can have a stack, by kind."""
    backend = SimBackend(SimKernel(kernel), stream=True, stacks=True)
    backend.start()
    assert backend.info.stacks
    for text in operations:
        backend.operate(parse_operation(text))
    found: dict[Kind, set[tuple[str, ...]]] = {}
    backend.stop()
    for event in (event for block in backend.records() for event in unpack_all(block)):
        assert event.version == WITH_STACKS
        if event.stack:
            found.setdefault(Kind(event.kind), set()).add(backend.stack(event.stack))
    return found


@pytest.mark.parametrize("kernel", GENERATIONS)
def test_the_innermost_frame_is_the_hooked_function(kernel: str) -> None:
    found = stacks(kernel, "grow 2MB 23", "shrink 2MB 23")
    symbols = GENERATIONS[kernel].symbols
    for kind, frames in found.items():
        step = kind.name.lower().removesuffix("_enter").removesuffix("_exit")
        assert {one[0] for one in frames} == {symbols[step]}
        assert all("set_max_huge_pages" in one for one in frames)
    assert found[Kind.OPTIMIZE_ENTER] == found[Kind.OPTIMIZE_EXIT]


def test_who_triggers_an_operation_is_in_its_stack() -> None:
    grown, faulted = stacks("6.2", "grow 2MB 1"), stacks("6.2", "overcommit 2MB 1")
    assert "set_max_huge_pages" in next(iter(grown[Kind.OPTIMIZE_EXIT]))
    assert "alloc_surplus_huge_page" in next(iter(faulted[Kind.OPTIMIZE_EXIT]))
    assert "free_hpage_workfn" in next(iter(faulted[Kind.RESTORE_EXIT]))


def test_without_stacks_no_event_has_one() -> None:
    backend = SimBackend(SimKernel("7.3"), stream=True)
    backend.start()
    backend.operate(parse_operation("grow 2MB 1"))
    backend.stop()
    assert not backend.info.stacks
    events = [event for block in backend.records() for event in unpack_all(block)]
    assert {event.version for event in events} == {1}
    assert backend.stack(1) == ()
