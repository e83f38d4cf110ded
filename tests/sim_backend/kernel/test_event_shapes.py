# SPDX-License-Identifier: Apache-2.0
"""The events of one page, field by field: the arguments each kernel's functions get."""

import pytest

from probes.events import CanonicalEvent, Kind, Reason, canonical
from tests.sim_backend.harness import ALL, LISTS, OPTIMIZING, Traced, since

PAGE = 4096
STRUCTS = 32768  # of a 2 MB page, in bytes
ORDER = 9
BATCH = (Kind.BATCH_ENTER, Kind.BATCH_EXIT)

# (start, end, reuse) of REMAP_RANGE from the head's struct page on; None: not an argument.
RANGES = since(
    {
        "v17-enabled": (2 * PAGE, 8 * PAGE, 1 * PAGE),
        "5.18": (1 * PAGE, 8 * PAGE, 0),
        "6.0": (0, 8 * PAGE, 0),
        "7.1": (0, 8 * PAGE, None),
    },
    but={"6.12.114": (0, 8 * PAGE, None), "6.18.51": (0, 8 * PAGE, None)},
)
FIRST_REMAPPED = since({"v17-enabled": 2, "5.18": 1, "6.2": 0})
FIRST_RESTORED = since({"v17-enabled": 2, "5.18": 1})


def step(kind: Kind, start: int, end: int, reuse: int | None = None) -> CanonicalEvent:
    return CanonicalEvent(kind, ORDER, 0, start, end, reuse, 0, 0, 0, 0, Reason.NONE)


def steps(kind: Kind, first: int) -> list[CanonicalEvent]:
    return [step(kind, i * PAGE, (i + 1) * PAGE) for i in range(first, 8)]


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_optimising_one_page(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    first = FIRST_REMAPPED[generation]
    count, heads = 8 - first, int(first == 0)
    assert [e for e in canonical(traced.events) if e.kind not in BATCH] == [
        step(Kind.OPTIMIZE_ENTER, 0, STRUCTS),
        step(Kind.REMAP_RANGE, *RANGES[generation]),
        *steps(Kind.REMAP_PTE, first),
        step(Kind.OPTIMIZE_EXIT, 0, STRUCTS)._replace(
            ptes=count, frames_freed=count, frames_allocated=heads
        ),
    ]


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_restoring_one_page(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    traced.events.clear()
    traced.run("shrink 2MB 1")
    first = FIRST_RESTORED[generation]
    assert list(canonical(traced.events)) == [
        step(Kind.RESTORE_ENTER, 0, STRUCTS),
        *steps(Kind.RESTORE_PTE, first),
        step(Kind.RESTORE_EXIT, 0, STRUCTS)._replace(ptes=8 - first, frames_allocated=8 - first),
    ]


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_addresses_are_those_of_struct_pages(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    (page,) = traced.pages()
    (enter,) = traced.of(Kind.OPTIMIZE_ENTER)
    assert enter.start == 0xFFFFEA0000000000 + page.pfn * 64
    assert {event.node for event in traced.events if event.kind not in BATCH} == {0}


@pytest.mark.parametrize("generation", ["v17", "v17-enabled", "5.14", "5.18", "6.0", "6.2"])
def test_a_page_that_was_never_optimised_passes_through_restore(generation: str) -> None:
    traced = Traced(generation, hvo=False).run("grow 2MB 1", "shrink 2MB 1")
    (leave,) = traced.of(Kind.RESTORE_EXIT)
    assert (leave.ptes, leave.ret) == (0, 0)


@pytest.mark.parametrize("generation", LISTS)
def test_later_kernels_restore_only_what_is_optimised(generation: str) -> None:
    traced = Traced(generation, hvo=False).run("grow 2MB 1", "shrink 2MB 1")
    assert traced.of(Kind.RESTORE_ENTER, Kind.RESTORE_EXIT) == []


@pytest.mark.parametrize("generation", ALL)
def test_every_enter_has_its_exit(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 5", "overcommit 2MB 3", "shrink 2MB 5")
    enters = traced.of(Kind.OPTIMIZE_ENTER, Kind.RESTORE_ENTER)
    exits = traced.of(Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT)
    assert [(e.start, e.pid) for e in enters] == [(e.start, e.pid) for e in exits]
    assert len(enters) == 16
