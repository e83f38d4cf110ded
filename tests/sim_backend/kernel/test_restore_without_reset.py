# SPDX-License-Identifier: Apache-2.0
"""Stable 6.12.114 and later: restored frames begin with copies of the head.

The kernel copies the shared page, which is the head's, and does not reset its first struct pages
(Debian 6.12.118, vmemmap_restore_pte). What was seen on it: docs/kernel-bugs, and its
golden trace, which ends with a demotion and the shrinking after it.
"""

import pytest

from probes.events import Kind, Reason
from probes.geometry import GIB, MIB
from sim_backend.kernel.generation import GENERATIONS, HeadFrame
from tests.sim_backend.harness import OPTIMIZING, Traced, big

HYBRIDS = [n for n, g in GENERATIONS.items() if g.head is HeadFrame.REQUIRED_SHARED]


@pytest.mark.parametrize("generation", HYBRIDS)
def test_with_init_on_alloc_all_64_pages_are_gone(generation: str) -> None:
    """6.12.117, init_on_alloc=1: 64 x 2 MB grown and shrunk to 0 leave MemFree 128 MB short."""
    traced = Traced(generation, init_on_alloc=True)
    before = traced.kernel.accounts()
    traced.run("grow 2MB 64", "shrink 2MB 64")
    after = traced.kernel.accounts()
    tables = after.page_tables - before.page_tables
    assert before.free - after.free == 64 * 512 + tables
    assert (after.lost, after.hugetlb) == (64 * 512, 0)
    assert after.memmap == before.memmap


@pytest.mark.parametrize("generation", HYBRIDS)
def test_with_init_on_alloc_a_gigantic_page_is_gone_too(generation: str) -> None:
    """6.12.118 with Debian's command line, by hvoscope verify: 1024 MiB are not given back."""
    traced = big(generation, init_on_alloc=True)
    traced.run("grow 1GB 1", "shrink 1GB 1")
    assert traced.kernel.accounts().lost == 512 * 512


@pytest.mark.parametrize("generation", HYBRIDS)
@pytest.mark.parametrize("how", ["init_on_alloc off", "hvo off"])
def test_what_is_not_checked_or_not_marked_is_freed(generation: str, how: str) -> None:
    traced = Traced(
        generation,
        sizes=(2 * MIB, GIB),
        memory=4 * GIB,
        hvo=how != "hvo off",
        init_on_alloc=how != "init_on_alloc off",
    )
    traced.run("grow 2MB 1", "shrink 2MB 1")
    assert traced.kernel.accounts().lost == 0


@pytest.mark.parametrize("generation", [n for n in GENERATIONS if n not in HYBRIDS])
def test_other_kernels_lose_nothing(generation: str) -> None:
    traced = Traced(generation, init_on_alloc=True).run("grow 2MB 64", "shrink 2MB 64")
    assert traced.kernel.accounts().lost == 0


@pytest.mark.parametrize("generation", HYBRIDS)
def test_tails_share_the_frame_of_the_head(generation: str) -> None:
    traced = Traced(generation).run("grow 2MB 1")
    (page,) = traced.pages()
    head, *tails = traced.vmemmap(page)
    assert {tail.pfn for tail in tails} == {head.pfn}
    assert [head.writable, *(tail.writable for tail in tails)] == [True, *[False] * 7]
    assert traced.kernel.accounts().vmemmap_tails == 0


@pytest.mark.parametrize("generation", HYBRIDS)
def test_without_memory_for_a_head_the_page_stays_as_it_is(generation: str) -> None:
    traced = Traced(generation)
    traced.kernel.hold_memory(0, leave=512 + 1)
    traced.run("grow 2MB 1")
    assert traced.total("optimize_failures", "ENOMEM") == 1
    assert traced.total("hugepages_optimized") == 0


@pytest.mark.parametrize("generation", HYBRIDS)
def test_511_parts_of_a_demoted_page_are_taken_for_optimised(generation: str) -> None:
    traced = big(generation).run("grow 1GB 1")
    traced.events.clear()
    traced.run("demote 1GB 1")
    assert traced.total("hugepages_optimized") == 1
    leaves = traced.of(Kind.OPTIMIZE_EXIT)
    assert [event.reason for event in leaves].count(Reason.OTHER) == 511
    (optimized,) = [event for event in leaves if event.ptes]
    assert optimized.start == min(event.start for event in leaves)


@pytest.mark.parametrize("generation", HYBRIDS)
def test_parts_that_were_never_optimised_are_restored_and_their_frames_lost(
    generation: str,
) -> None:
    traced = big(generation).run("grow 1GB 1", "demote 1GB 1")
    accounts = traced.kernel.accounts()
    traced.events.clear()
    traced.run("shrink 2MB 512")
    assert traced.total("hugepages_restored") == 512
    assert traced.total("ptes_restored") == 512 * 7
    after = traced.kernel.accounts()
    assert after.memmap - accounts.memmap == 512 * 7
    assert len(traced.kernel.machine.lost_frames) == 511 * 7
    assert after.free - accounts.free == 512 * 512 - 512 * 7


@pytest.mark.parametrize("generation", HYBRIDS)
@pytest.mark.parametrize("switch", ["hvo on", "hvo off"])
def test_with_init_on_alloc_all_parts_are_gone(generation: str, switch: str) -> None:
    """Seen on 6.12.118: 1038 MiB by hvoscope verify, and as much with the switch off."""
    traced = big(generation, init_on_alloc=True)
    traced.run("grow 1GB 1", switch, "demote 1GB 1", "shrink 2MB 512")
    assert traced.kernel.accounts().lost == 512 * 512
    assert len(traced.kernel.machine.lost_frames) == 511 * 7


@pytest.mark.parametrize("generation", [n for n in OPTIMIZING if n not in HYBRIDS])
def test_other_kernels_lose_no_part(generation: str) -> None:
    traced = big(generation, init_on_alloc=True)
    traced.run("grow 1GB 1", "demote 1GB 1", "shrink 2MB 512")
    assert traced.kernel.accounts().lost == 0


@pytest.mark.parametrize("generation", HYBRIDS)
def test_a_page_that_was_not_optimised_marks_no_part(generation: str) -> None:
    traced = big(generation).run("hvo off", "grow 1GB 1", "hvo on", "demote 1GB 1")
    assert traced.total("hugepages_optimized") == 512
