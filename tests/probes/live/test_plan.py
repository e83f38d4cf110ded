# SPDX-License-Identifier: Apache-2.0
from probes.backend import STEPS
from probes.counters import SLOTS, Slot
from probes.live.plan import CANDIDATES, choose, find_switch, observed_slots

SEED = {
    "free_huge_page_vmemmap",
    "vmemmap_remap_free",
    "vmemmap_remap_range",
    "vmemmap_remap_pte",
    "alloc_huge_page_vmemmap",
    "vmemmap_restore_pte",
}
DEBIAN_6_1 = {
    "hugetlb_vmemmap_optimize",
    "hugetlb_vmemmap_restore",
    "vmemmap_remap_range",
    "vmemmap_remap_pte",
    "vmemmap_restore_pte",
}


def symbols_of(available: set[str]) -> list[str]:
    return [chosen.symbol if chosen else "-" for chosen in choose(available).values()]


def test_the_seeds_own_functions_are_chosen_where_they_exist() -> None:
    assert symbols_of(SEED) == [
        "free_huge_page_vmemmap",
        "vmemmap_remap_free",
        "vmemmap_remap_pte",
        "alloc_huge_page_vmemmap",
        "vmemmap_restore_pte",
    ]


def test_successors_are_chosen_where_they_were_renamed_or_inlined() -> None:
    assert symbols_of(DEBIAN_6_1) == [
        "hugetlb_vmemmap_optimize",
        "vmemmap_remap_range",
        "vmemmap_remap_pte",
        "hugetlb_vmemmap_restore",
        "vmemmap_restore_pte",
    ]


def test_a_step_without_a_function_is_none() -> None:
    assert symbols_of({"vmemmap_remap_pte"}) == ["-", "-", "vmemmap_remap_pte", "-", "-"]


def test_every_step_has_candidates() -> None:
    assert tuple(CANDIDATES) == STEPS


def test_the_switch() -> None:
    assert find_switch({"vmemmap_optimize_enabled": 0x1000}) == 0x1000
    assert find_switch({"hugetlb_free_vmemmap_enabled": 0x2000}) == 0x2000
    assert find_switch({"vmemmap_optimize_enabled": 0}) == 0  # hidden by kptr_restrict
    assert find_switch({}) == 0


def test_with_every_step_attached_all_is_observed() -> None:
    assert observed_slots(STEPS) == frozenset(SLOTS)


def test_without_the_pte_probe_only_calls_and_the_way_back_are_observed() -> None:
    observed = observed_slots(["optimize", "remap_range", "restore", "restore_pte"])
    assert observed == {
        Slot("optimize_calls"),
        Slot("frames_allocated", "restore"),
        Slot("hugepages_restored"),
        Slot("ptes_restored"),
        Slot("restore_failures", "ENOMEM"),
        Slot("restore_failures", "other"),
    }


def test_with_nothing_attached_nothing_is_observed() -> None:
    assert observed_slots([]) == frozenset()
