# SPDX-License-Identifier: Apache-2.0
"""The page table after remapping, and after restoring."""

import pytest

from probes.geometry import MIB
from tests.sim_backend.harness import OPTIMIZING, Traced, since

RESERVED = {"v17-enabled": 2, "5.14": 2, "5.18": 1, "6.0": 1, "6.2": 1, "6.7": 1}


@pytest.mark.parametrize("generation", list(RESERVED))
def test_tails_map_to_the_reused_frame_read_only(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    pages = traced.vmemmap(traced.pages()[0])
    own, shared = pages[: RESERVED[generation]], pages[RESERVED[generation] :]
    assert {page.pfn for page in shared} == {own[-1].pfn}
    assert all(page.writable for page in own)
    assert not any(page.writable for page in shared)


def test_tails_of_71_share_one_frame_per_node_and_size() -> None:
    traced = Traced("7.1").run("grow 2MB 3")
    views = [traced.vmemmap(page) for page in traced.pages()]
    assert len({view[0].pfn for view in views}) == 3
    assert all(view[0].writable for view in views)
    tails = {page.pfn for view in views for page in view[1:]}
    assert len(tails) == 1
    assert tails.isdisjoint(view[0].pfn for view in views)
    assert not any(page.writable for view in views for page in view[1:])
    assert traced.kernel.accounts().vmemmap_tails == 1


def test_71_shares_by_size_and_node() -> None:
    traced = Traced("7.1", sizes=(2 * MIB, 32 * MIB), nodes=2).run("grow 2MB 4", "grow 32MB 2")
    assert traced.kernel.accounts().vmemmap_tails == 4
    tails = traced.kernel.machine.vmemmap_tails
    assert set(tails) == {(0, 9), (1, 9), (0, 13), (1, 13)}
    for (node, order), tail in tails.items():
        assert tail.nid == node
        for page in traced.pages(4096 << order):
            if page.nid == node:
                assert traced.vmemmap(page)[1].pfn == tail.pfn


def test_two_pages_share_nothing() -> None:
    traced = Traced("v17-enabled").run("grow 2MB 2")
    one, other = ({page.pfn for page in traced.vmemmap(head)} for head in traced.pages())
    assert len(one) == len(other) == 2
    assert one.isdisjoint(other)


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_the_frames_they_had_are_free(generation: str) -> None:
    before, after = Traced(generation), Traced(generation).run("grow 2MB 1")
    (page,) = after.pages()
    had = [mapping.pfn for mapping in before.vmemmap(page)]
    has = {mapping.pfn for mapping in after.vmemmap(page)}
    gone = [pfn for pfn in had if pfn not in has]
    assert len(gone) == since({"v17-enabled": 6, "5.18": 7, "6.2": 8})[generation]
    assert not any(before.is_free(pfn) for pfn in gone)
    assert all(after.is_free(pfn) for pfn in gone)


@pytest.mark.parametrize("generation", OPTIMIZING)
def test_after_the_way_back_every_page_has_its_own_frame(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    (page,) = traced.pages()
    traced.run("shrink 2MB 1")
    pages = traced.vmemmap(page)
    assert len({mapping.pfn for mapping in pages}) == 8
    assert all(mapping.writable for mapping in pages)
    assert not any(traced.is_free(mapping.pfn) for mapping in pages)


def test_neighbours_are_left_alone() -> None:
    traced = Traced("v17-enabled")
    machine = traced.kernel.machine
    traced.run("grow 2MB 1")
    (page,) = traced.pages()
    start = machine.page_to_vmemmap(page.pfn)
    before = machine.init_mm.translate(start - 4096)
    assert before.writable
    assert before.pfn == traced.vmemmap(page)[0].pfn - 1
