# SPDX-License-Identifier: Apache-2.0
import pytest

from probes.backend import FULL, RANGE, STEPS
from probes.counters import SLOTS, Slot
from probes.kernel.btf import Btf
from probes.kernel.hooks import CANDIDATES, Hook, Role, find_switch, has_hvo, make_plan, restores
from probes.observed import observed_durations, observed_slots
from tests.probes.kernel.test_btf import Blob

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
FOLIOS = {
    "hugetlb_vmemmap_optimize_folios",
    "hugetlb_vmemmap_optimize_folio",
    "__hugetlb_vmemmap_optimize_folio",
    "__hugetlb_vmemmap_restore_folio",
    "vmemmap_remap_range",
    "vmemmap_remap_pte",
    "vmemmap_restore_pte",
}


def hooks(symbols: set[str], mode: str = FULL) -> dict[str, list[str]]:
    return {plan.step: [hook.symbol for hook in plan.hooks] for plan in make_plan(symbols, mode)}


def test_the_seeds_own_functions_are_chosen_where_they_exist() -> None:
    assert hooks(SEED) == {
        "optimize": ["free_huge_page_vmemmap"],
        "remap_range": ["vmemmap_remap_free"],
        "remap_pte": ["vmemmap_remap_pte"],
        "restore": ["alloc_huge_page_vmemmap"],
        "restore_pte": ["vmemmap_restore_pte"],
    }


def test_successors_are_chosen_where_they_were_renamed_or_inlined() -> None:
    assert hooks(DEBIAN_6_1) == {
        "optimize": ["hugetlb_vmemmap_optimize"],
        "remap_range": ["vmemmap_remap_range"],
        "remap_pte": ["vmemmap_remap_pte"],
        "restore": ["hugetlb_vmemmap_restore"],
        "restore_pte": ["vmemmap_restore_pte"],
    }


def test_batches_are_a_step_where_the_kernel_has_them() -> None:
    assert hooks(FOLIOS)["batch"] == ["hugetlb_vmemmap_optimize_folios"]


def test_range_mode_has_no_probe_on_a_pte_and_always_the_walk() -> None:
    assert hooks(SEED, RANGE) == {
        "optimize": ["free_huge_page_vmemmap"],
        "remap_range": ["vmemmap_remap_range"],
        "restore": ["alloc_huge_page_vmemmap"],
    }


@pytest.mark.parametrize(
    ("symbols", "counted"), [(SEED, True), (DEBIAN_6_1, True), (FOLIOS, False)]
)
def test_without_a_stream_ranges_are_watched_only_where_something_is_counted_by_them(
    symbols: set[str], counted: bool
) -> None:
    for mode, watched in ((FULL, counted), (RANGE, True)):
        wanted = [s for s in make_plan(symbols, mode) if watched or s.step != "remap_range"]
        assert list(make_plan(symbols, mode, stream=False)) == wanted


def test_a_bypassed_function_is_followed_into_its_part() -> None:
    (optimize,) = (
        plan
        for plan in make_plan({*FOLIOS, "__hugetlb_vmemmap_optimize_folio.part.0"})
        if plan.step == "optimize"
    )
    assert optimize.hooks == (
        Hook("__hugetlb_vmemmap_optimize_folio", Role.OPTIMIZE, returns=True),
        Hook("hugetlb_vmemmap_optimize_folio", Role.OPTIMIZE),
        Hook("__hugetlb_vmemmap_optimize_folio.part.0", Role.OPTIMIZE_RESULT, returns=True),
    )


def test_a_part_whose_caller_is_unknown_can_not_be_followed() -> None:
    (remap_pte,) = (
        plan for plan in make_plan({*SEED, "vmemmap_remap_pte.part.0"}) if plan.step == "remap_pte"
    )
    assert remap_pte.hooks == ()
    assert remap_pte.reason == "vmemmap_remap_pte is bypassed through vmemmap_remap_pte.part.0"


@pytest.mark.parametrize("suffix", [".isra.0", ".constprop.0", ".isra.0.constprop.12"])
@pytest.mark.parametrize("beside_the_plain_one", [True, False])
def test_arguments_that_the_compiler_rewrote_are_not_trusted(
    suffix: str, beside_the_plain_one: bool
) -> None:
    symbols = {*SEED, f"vmemmap_restore_pte{suffix}"}
    if not beside_the_plain_one:
        symbols.remove("vmemmap_restore_pte")
    (plan,) = (plan for plan in make_plan(symbols) if plan.step == "restore_pte")
    assert plan.hooks == ()
    assert plan.reason == f"the compiler rewrote vmemmap_restore_pte as vmemmap_restore_pte{suffix}"


@pytest.mark.parametrize(
    "other", ["vmemmap_remap_pte.cold", "__pfx_vmemmap_remap_pte", "vmemmap_remap_pte_x.isra.0"]
)
def test_what_is_no_entry_of_the_function_changes_nothing(other: str) -> None:
    assert hooks({*SEED, other}) == hooks(SEED)


def test_a_step_without_a_function_says_what_was_looked_for() -> None:
    (plan,) = (plan for plan in make_plan({"vmemmap_remap_pte"}) if plan.step == "remap_range")
    assert plan.hooks == ()
    assert plan.reason == "the kernel has none of: vmemmap_remap_free, vmemmap_remap_range"


def test_every_step_has_candidates() -> None:
    assert tuple(CANDIDATES) == STEPS


def test_roles_are_all_different() -> None:
    assert len(Role.__members__) == len(set(Role)) == 8


def test_has_hvo() -> None:
    assert has_hvo({"free_huge_page_vmemmap"})
    assert has_hvo({"__hugetlb_vmemmap_optimize_folio.part.0"})
    assert has_hvo({"hugetlb_vmemmap_optimize_folio"})  # with the rest inlined
    assert not has_hvo({"vmemmap_populate", "hugetlb_vmemmap_init"})


def test_the_switch() -> None:
    assert find_switch({"vmemmap_optimize_enabled": 0x1000}) == 0x1000
    assert find_switch({"hugetlb_free_vmemmap_enabled": 0x2000}) == 0x2000
    assert find_switch({"vmemmap_optimize_enabled": 0}) == 0  # hidden by kptr_restrict
    assert find_switch({}) == 0


def test_with_every_step_attached_all_is_observed() -> None:
    assert observed_slots(STEPS) == frozenset(SLOTS)
    assert observed_slots(["optimize", "remap_range", "restore"], RANGE) == frozenset(SLOTS)
    assert observed_durations(STEPS) == {"optimize", "restore", "batch"}


def test_without_the_pte_probe_only_calls_and_the_way_back_are_observed() -> None:
    steps = ["batch", "optimize", "remap_range", "restore", "restore_pte"]
    assert observed_slots(steps) == {
        Slot("optimize_calls"),
        Slot("frames_allocated", "restore"),
        Slot("hugepages_restored"),
        Slot("ptes_restored"),
        Slot("restore_failures", "ENOMEM"),
        Slot("restore_failures", "other"),
    }
    assert observed_durations(steps) == {"restore"}


def test_a_range_that_is_watched_is_needed() -> None:
    others = [step for step in STEPS if step != "remap_range"]
    assert observed_slots(others, FULL, others) == frozenset(SLOTS)
    assert observed_durations(others, FULL, others) == {"optimize", "restore", "batch"}
    assert observed_slots(others) < frozenset(SLOTS)
    assert observed_durations(others) == {"restore"}


def test_with_nothing_attached_nothing_is_observed() -> None:
    assert observed_slots([]) == frozenset()
    assert observed_durations([]) == frozenset()


V17 = SEED - {"alloc_huge_page_vmemmap", "vmemmap_restore_pte", "vmemmap_remap_range"}


def test_a_kernel_that_never_restores_has_no_such_steps() -> None:
    assert hooks(V17) == {
        "optimize": ["free_huge_page_vmemmap"],
        "remap_range": ["vmemmap_remap_free"],
        "remap_pte": ["vmemmap_remap_pte"],
    }
    assert restores(SEED)
    assert not restores(V17)


@pytest.mark.parametrize(
    "left", ["alloc_huge_page_vmemmap.part.0", "vmemmap_restore_pte.isra.0", "vmemmap_restore_pte"]
)
def test_a_restore_that_can_not_be_hooked_is_said_not_left_out(left: str) -> None:
    plans = {plan.step: plan for plan in make_plan({*V17, left})}
    assert any(plans[step].reason for step in ("restore", "restore_pte"))


def test_prototypes_say_what_returns_a_value() -> None:
    in_v17, later = (
        {hook.symbol: hook.returns for plan in make_plan(SEED, btf=btf) for hook in plan.hooks}
        for btf in (prototypes(remap_free=False), prototypes(remap_free=True))
    )
    assert (in_v17["vmemmap_remap_free"], later["vmemmap_remap_free"]) == (False, True)
    assert in_v17["alloc_huge_page_vmemmap"]
    assert not in_v17["free_huge_page_vmemmap"]


def test_without_btf_only_what_every_kernel_returns_is_read() -> None:
    returns = {hook.symbol: hook.returns for plan in make_plan(SEED) for hook in plan.hooks}
    assert {symbol for symbol, value in returns.items() if value} == {"alloc_huge_page_vmemmap"}


def test_other_parameters_are_refused_in_one_line() -> None:
    blob = prototype_blob()
    blob.function("vmemmap_remap_pte", ["long", "*pte", "*vmemmap_remap_walk"], returns="")
    plans = {plan.step: plan for plan in make_plan(SEED, btf=Btf(blob.bytes()))}
    assert plans["remap_pte"].hooks == ()
    assert plans["remap_pte"].reason == (
        "vmemmap_remap_pte takes other parameters than expected: "
        "(int, *, *vmemmap_remap_walk), not (*, int)"
    )
    assert plans["restore_pte"].hooks


def test_too_few_parameters_are_refused() -> None:
    blob = prototype_blob()
    blob.function("free_huge_page_vmemmap", ["*hstate"], returns="")
    plans = {plan.step: plan for plan in make_plan(SEED, btf=Btf(blob.bytes()))}
    assert "(*hstate), not (*hstate, *folio|*page)" in plans["optimize"].reason


def test_a_pte_function_that_may_fail_is_not_counted_at_its_entry() -> None:
    blob = prototype_blob()
    blob.function("vmemmap_remap_pte", ["*pte", "long", "*vmemmap_remap_walk"], returns="int")
    plans = {plan.step: plan for plan in make_plan(SEED, btf=Btf(blob.bytes()))}
    assert "returns a value" in plans["remap_pte"].reason


def test_a_result_that_is_returned_needs_no_range() -> None:
    blob = prototype_blob()
    blob.function("__hugetlb_vmemmap_optimize_folio", ["*hstate", "*folio"], returns="")
    names = [plan.step for plan in make_plan(FOLIOS, stream=False, btf=Btf(blob.bytes()))]
    assert "remap_range" in names  # this one returns nothing
    assert "remap_range" not in [plan.step for plan in make_plan(FOLIOS, stream=False)]


def prototype_blob() -> Blob:
    """The types that prototypes name."""
    blob = Blob()
    blob.integer("long")
    blob.integer("int")
    for name in ("hstate", "page", "folio", "pte", "vmemmap_remap_walk"):
        blob.pointer_to_struct(name, typedef=name == "pte")
    return blob


def prototypes(*, remap_free: bool) -> Btf:
    """The functions of 2021; ``vmemmap_remap_free`` returns an int, or nothing as in patch v17."""
    blob = prototype_blob()
    blob.function("free_huge_page_vmemmap", ["*hstate", "*page"], returns="")
    returns = "int" if remap_free else ""
    blob.function("vmemmap_remap_free", ["long", "long", "long"], returns=returns)
    blob.function("alloc_huge_page_vmemmap", ["*hstate", "*page"], returns="int")
    return Btf(blob.bytes())
