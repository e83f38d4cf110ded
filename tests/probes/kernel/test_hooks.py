# SPDX-License-Identifier: Apache-2.0
import pytest

from probes.backend import FULL, RANGE, STEPS
from probes.counters import SLOTS, Slot
from probes.kernel.btf import Btf
from probes.kernel.hooks import CANDIDATES, Hook, Role, find_switch, has_hvo, restores, select_hooks
from probes.observed import observed_durations, observed_slots
from tests.probes.kernel.test_btf import Blob

LINUX_5_15 = {  # named as in patch v17
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
    return {step.step: [hook.symbol for hook in step.hooks] for step in select_hooks(symbols, mode)}


def test_functions_of_patch_v17_are_selected_if_present() -> None:
    assert hooks(LINUX_5_15) == {
        "optimize": ["free_huge_page_vmemmap"],
        "remap_range": ["vmemmap_remap_free"],
        "remap_pte": ["vmemmap_remap_pte"],
        "restore": ["alloc_huge_page_vmemmap"],
        "restore_pte": ["vmemmap_restore_pte"],
    }


def test_successors_of_renamed_or_inlined_functions_are_selected() -> None:
    assert hooks(DEBIAN_6_1) == {
        "optimize": ["hugetlb_vmemmap_optimize"],
        "remap_range": ["vmemmap_remap_range"],
        "remap_pte": ["vmemmap_remap_pte"],
        "restore": ["hugetlb_vmemmap_restore"],
        "restore_pte": ["vmemmap_restore_pte"],
    }


def test_the_list_function_is_selected_if_present() -> None:
    assert hooks(FOLIOS)["batch"] == ["hugetlb_vmemmap_optimize_folios"]


def test_range_mode_selects_the_walk_and_no_pte_function() -> None:
    assert hooks(LINUX_5_15, RANGE) == {
        "optimize": ["free_huge_page_vmemmap"],
        "remap_range": ["vmemmap_remap_range"],
        "restore": ["alloc_huge_page_vmemmap"],
    }


@pytest.mark.parametrize(
    ("symbols", "counted"), [(LINUX_5_15, True), (DEBIAN_6_1, True), (FOLIOS, False)]
)
def test_without_a_stream_ranges_are_hooked_only_if_a_counter_needs_them(
    symbols: set[str], counted: bool
) -> None:
    for mode, hooked in ((FULL, counted), (RANGE, True)):
        wanted = [s for s in select_hooks(symbols, mode) if hooked or s.step != "remap_range"]
        assert list(select_hooks(symbols, mode, stream=False)) == wanted


def test_a_split_function_is_hooked_at_its_caller_and_part() -> None:
    (optimize,) = (
        step
        for step in select_hooks({*FOLIOS, "__hugetlb_vmemmap_optimize_folio.part.0"})
        if step.step == "optimize"
    )
    assert optimize.hooks == (
        Hook("__hugetlb_vmemmap_optimize_folio", Role.OPTIMIZE, returns=True),
        Hook("hugetlb_vmemmap_optimize_folio", Role.OPTIMIZE),
        Hook("__hugetlb_vmemmap_optimize_folio.part.0", Role.OPTIMIZE_RESULT, returns=True),
    )


def test_a_split_function_without_known_caller_is_not_hooked() -> None:
    (remap_pte,) = (
        step
        for step in select_hooks({*LINUX_5_15, "vmemmap_remap_pte.part.0"})
        if step.step == "remap_pte"
    )
    assert remap_pte.hooks == ()
    assert remap_pte.reason == "vmemmap_remap_pte is bypassed through vmemmap_remap_pte.part.0"


@pytest.mark.parametrize("suffix", [".isra.0", ".constprop.0", ".isra.0.constprop.12"])
@pytest.mark.parametrize("with_plain_function", [True, False])
def test_functions_with_rewritten_arguments_are_not_hooked(
    suffix: str, with_plain_function: bool
) -> None:
    symbols = {*LINUX_5_15, f"vmemmap_restore_pte{suffix}"}
    if not with_plain_function:
        symbols.remove("vmemmap_restore_pte")
    (step,) = (step for step in select_hooks(symbols) if step.step == "restore_pte")
    assert step.hooks == ()
    assert step.reason == f"the compiler rewrote vmemmap_restore_pte as vmemmap_restore_pte{suffix}"


@pytest.mark.parametrize(
    "other", ["vmemmap_remap_pte.cold", "__pfx_vmemmap_remap_pte", "vmemmap_remap_pte_x.isra.0"]
)
def test_symbols_that_are_not_entries_are_ignored(other: str) -> None:
    assert hooks({*LINUX_5_15, other}) == hooks(LINUX_5_15)


def test_a_step_without_function_lists_its_candidates() -> None:
    (step,) = (step for step in select_hooks({"vmemmap_remap_pte"}) if step.step == "remap_range")
    assert step.hooks == ()
    assert step.reason == "the kernel has none of: vmemmap_remap_free, vmemmap_remap_range"


def test_every_step_has_candidates() -> None:
    assert tuple(CANDIDATES) == STEPS


def test_all_8_roles_are_distinct() -> None:
    assert len(Role.__members__) == len(set(Role)) == 8


def test_has_hvo_accepts_any_optimize_function() -> None:
    assert has_hvo({"free_huge_page_vmemmap"})
    assert has_hvo({"__hugetlb_vmemmap_optimize_folio.part.0"})
    assert has_hvo({"hugetlb_vmemmap_optimize_folio"})  # its callees are inlined
    assert not has_hvo({"vmemmap_populate", "hugetlb_vmemmap_init"})


def test_find_switch_returns_the_address_or_0() -> None:
    assert find_switch({"vmemmap_optimize_enabled": 0x1000}) == 0x1000
    assert find_switch({"hugetlb_free_vmemmap_enabled": 0x2000}) == 0x2000
    assert find_switch({"vmemmap_optimize_enabled": 0}) == 0  # hidden by kptr_restrict
    assert find_switch({}) == 0


def test_all_counters_are_observed_with_every_step_attached() -> None:
    assert observed_slots(STEPS) == frozenset(SLOTS)
    assert observed_slots(["optimize", "remap_range", "restore"], RANGE) == frozenset(SLOTS)
    assert observed_durations(STEPS) == {"optimize", "restore", "batch"}


def test_without_the_pte_probe_only_calls_and_restores_are_observed() -> None:
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


def test_a_selected_range_step_is_required() -> None:
    others = [step for step in STEPS if step != "remap_range"]
    assert observed_slots(others, FULL, others) == frozenset(SLOTS)
    assert observed_durations(others, FULL, others) == {"optimize", "restore", "batch"}
    assert observed_slots(others) < frozenset(SLOTS)
    assert observed_durations(others) == {"restore"}


def test_nothing_is_observed_with_nothing_attached() -> None:
    assert observed_slots([]) == frozenset()
    assert observed_durations([]) == frozenset()


V17_3_OF_9 = LINUX_5_15 - {"alloc_huge_page_vmemmap", "vmemmap_restore_pte", "vmemmap_remap_range"}


def test_a_kernel_without_restore_functions_has_no_restore_steps() -> None:
    assert hooks(V17_3_OF_9) == {
        "optimize": ["free_huge_page_vmemmap"],
        "remap_range": ["vmemmap_remap_free"],
        "remap_pte": ["vmemmap_remap_pte"],
    }
    assert restores(LINUX_5_15)
    assert not restores(V17_3_OF_9)


@pytest.mark.parametrize(
    "left", ["alloc_huge_page_vmemmap.part.0", "vmemmap_restore_pte.isra.0", "vmemmap_restore_pte"]
)
def test_a_restore_function_that_can_not_be_hooked_is_reported(left: str) -> None:
    steps = {step.step: step for step in select_hooks({*V17_3_OF_9, left})}
    assert any(steps[name].reason for name in ("restore", "restore_pte"))


def test_returns_is_taken_from_the_prototype() -> None:
    in_v17, later = (
        {
            hook.symbol: hook.returns
            for step in select_hooks(LINUX_5_15, btf=btf)
            for hook in step.hooks
        }
        for btf in (prototypes(remap_free=False), prototypes(remap_free=True))
    )
    assert (in_v17["vmemmap_remap_free"], later["vmemmap_remap_free"]) == (False, True)
    assert in_v17["alloc_huge_page_vmemmap"]
    assert not in_v17["free_huge_page_vmemmap"]


def test_without_btf_only_functions_that_always_return_a_value_are_read() -> None:
    returns = {
        hook.symbol: hook.returns for step in select_hooks(LINUX_5_15) for hook in step.hooks
    }
    assert {symbol for symbol, value in returns.items() if value} == {"alloc_huge_page_vmemmap"}


def test_unexpected_parameters_are_rejected_in_one_line() -> None:
    blob = prototype_blob()
    blob.function("vmemmap_remap_pte", ["long", "*pte", "*vmemmap_remap_walk"], returns="")
    steps = {step.step: step for step in select_hooks(LINUX_5_15, btf=Btf(blob.bytes()))}
    assert steps["remap_pte"].hooks == ()
    assert steps["remap_pte"].reason == (
        "vmemmap_remap_pte has parameters (int, *, *vmemmap_remap_walk) (expected (*, int))"
    )
    assert steps["restore_pte"].hooks


def test_too_few_parameters_are_rejected() -> None:
    blob = prototype_blob()
    blob.function("free_huge_page_vmemmap", ["*hstate"], returns="")
    steps = {step.step: step for step in select_hooks(LINUX_5_15, btf=Btf(blob.bytes()))}
    assert "(*hstate) (expected (*hstate, *folio|*page))" in steps["optimize"].reason


def test_a_pte_function_that_returns_a_value_is_rejected() -> None:
    blob = prototype_blob()
    blob.function("vmemmap_remap_pte", ["*pte", "long", "*vmemmap_remap_walk"], returns="int")
    steps = {step.step: step for step in select_hooks(LINUX_5_15, btf=Btf(blob.bytes()))}
    assert "returns a value" in steps["remap_pte"].reason


def test_ranges_are_hooked_if_the_page_function_returns_void() -> None:
    blob = prototype_blob()
    blob.function("__hugetlb_vmemmap_optimize_folio", ["*hstate", "*folio"], returns="")
    names = [step.step for step in select_hooks(FOLIOS, stream=False, btf=Btf(blob.bytes()))]
    assert "remap_range" in names  # the page function returns void in this BTF
    assert "remap_range" not in [step.step for step in select_hooks(FOLIOS, stream=False)]


def prototype_blob() -> Blob:
    """Return a blob with the types that the prototypes use."""
    blob = Blob()
    blob.integer("long")
    blob.integer("int")
    for name in ("hstate", "page", "folio", "pte", "vmemmap_remap_walk"):
        blob.pointer_to_struct(name, typedef=name == "pte")
    return blob


def prototypes(*, remap_free: bool) -> Btf:
    """Return BTF of the functions of 2021; ``remap_free``: vmemmap_remap_free returns an int."""
    blob = prototype_blob()
    blob.function("free_huge_page_vmemmap", ["*hstate", "*page"], returns="")
    returns = "int" if remap_free else ""
    blob.function("vmemmap_remap_free", ["long", "long", "long"], returns=returns)
    blob.function("alloc_huge_page_vmemmap", ["*hstate", "*page"], returns="int")
    return Btf(blob.bytes())
