# SPDX-License-Identifier: Apache-2.0
"""Why a call does nothing."""

import pytest

from probes.events import Kind, Reason
from probes.geometry import KIB, MIB, Geometry
from sim_backend.kernel.hugetlb_vmemmap_folios import hugetlb_vmemmap_optimize_folio
from tests.sim_backend.harness import ALL, OPTIMIZING, Traced


def only_exit(traced: Traced) -> tuple[int, int, int]:
    (leave,) = traced.of(Kind.OPTIMIZE_EXIT)
    return leave.ret, leave.ptes, leave.reason


@pytest.mark.parametrize("generation", ALL)
def test_switched_off(generation: str) -> None:
    traced = Traced(generation, hvo=False).run("grow 2MB 1")
    assert only_exit(traced) == (0, 0, Reason.OFF)
    assert traced.of(Kind.REMAP_RANGE, Kind.REMAP_PTE) == []
    assert not traced.kernel.switch()


@pytest.mark.parametrize("generation", ALL)
def test_a_size_without_a_page_to_spare(generation: str) -> None:
    traced = Traced(generation, sizes=(64 * KIB,)).run("grow 64KB 1")
    assert only_exit(traced) == (0, 0, Reason.UNSUPPORTED)


def test_a_single_page_to_spare_is_enough() -> None:
    traced = Traced("6.7", sizes=(512 * KIB,)).run("grow 512KB 1")
    assert only_exit(traced) == (0, 2, Reason.NONE)
    assert traced.total("frames_freed") - traced.total("frames_allocated", "head") == 1
    traced.events.clear()
    machine = traced.kernel.machine
    hugetlb_vmemmap_optimize_folio(machine, machine.hstates[0], traced.pages(512 * KIB)[0])
    assert only_exit(traced) == (0, 0, Reason.OTHER)


@pytest.mark.parametrize("generation", ALL)
def test_struct_pages_across_page_boundaries(generation: str) -> None:
    traced = Traced(generation, geometry=Geometry(struct_page_size=56)).run("grow 2MB 1")
    assert only_exit(traced) == (0, 0, Reason.UNSUPPORTED)


@pytest.mark.parametrize("generation", ["6.7", "7.1"])
def test_optimised_already(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    traced.events.clear()
    machine = traced.kernel.machine
    hugetlb_vmemmap_optimize_folio(machine, machine.hstates[0], traced.pages()[0])
    assert only_exit(traced) == (0, 0, Reason.OTHER)


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_work_done_has_no_reason(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    assert only_exit(traced)[2] == Reason.NONE


def test_the_switch_leaves_pages_as_they_are() -> None:
    traced = Traced().run("grow 2MB 5", "hvo off", "grow 2MB 7")
    assert traced.total("hugepages_skipped", "off") == 7
    traced.run("shrink 2MB 12")
    assert traced.total("hugepages_restored") == 5
    traced.run("hvo on", "grow 2MB 3")
    assert traced.total("hugepages_optimized") == 8
    assert traced.kernel.switch()


def test_a_mixture_of_sizes() -> None:
    traced = Traced(sizes=(64 * KIB, 2 * MIB, 32 * MIB)).run(
        "grow 64KB 3", "grow 2MB 5", "grow 32MB 2"
    )
    assert traced.total("hugepages_skipped", "unsupported") == 3
    assert traced.total("hugepages_optimized") == 7
    assert traced.total("frames_freed") == 5 * 6 + 2 * 126
