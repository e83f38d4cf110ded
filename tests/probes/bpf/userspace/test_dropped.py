# SPDX-License-Identifier: Apache-2.0
"""Returns that the kernel drops, because all return probes are in use."""

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from probes.backend import FULL, RANGE
from probes.bpf.program import Setting
from probes.counters import Counters, Slot
from tests.probes.bpf.userspace.kernels import KERNELS, Kernel
from tests.probes.bpf.userspace.library import encode
from tests.probes.bpf.userspace.recorder import VOID, wandering
from tests.probes.bpf.userspace.run import (
    LAYOUT,
    VARIANTS,
    Lab,
    Program,
    Variant,
    attached,
    check,
    expected_counters,
    play,
    program_for,
    ready,
    seen,
    settings_of,
    variants,
)
from tests.probes.bpf.userspace.script import Page, Script, interleaved

KPROBES = Variant(FULL, stream=False, fentry=False)
_PAGE_SLOTS = frozenset(
    {
        Slot("optimize_calls"),
        Slot("hugepages_optimized"),
        Slot("ptes_remapped"),
        Slot("frames_freed"),
        Slot("frames_allocated", "head"),
        Slot("frames_allocated", "restore"),
        Slot("hugepages_restored"),
        Slot("ptes_restored"),
    }
)
"""Counters that a dropped return must not change, unlike errnos and durations."""
EVERY = pytest.mark.parametrize("kernel", KERNELS.values(), ids=str)


def page_totals(counters: Counters) -> dict[object, int]:
    return {key: n for key, n in counters.totals.items() if key[0] in _PAGE_SLOTS}


def failed(counters: Counters) -> int:
    return sum(n for (slot, _), n in counters.totals.items() if slot.family == "optimize_failures")


def hooked_and_dropped(program: Program, script: Script) -> int:
    """Return the number of dropped returns of functions with a kretprobe."""
    hooked = {point.symbol for point in program.points if point.at_return and not point.fentry}
    calls = script.recorder.calls
    return sum(call.dropped and call.at_return and call.symbol in hooked for call in calls)


@EVERY
@pytest.mark.parametrize("stream", [False, True], ids=["counters", "stream"])
def test_every_page_is_counted_if_all_returns_are_dropped(
    kernel: Kernel, stream: bool, lab: Lab
) -> None:
    script = Script(kernel, lab.arena, drops=lambda: True, cpus=wandering(5, LAYOUT.cpus))
    for page in (Page(0, 9, 1), Page(1, 9, 2), Page(0, 13, 0)):
        script.optimize(page).restore(page).optimize(page, fails_after=4).optimize(page)
    script.recorder.end_task()
    program = program_for(kernel, Variant(FULL, stream, fentry=False))
    found = play(program, encode(script.recorder.calls), lab)
    truth = expected_counters(program, script.recorder.events[FULL])
    assert page_totals(found.counters) == page_totals(truth)
    assert found.counters.total("hugepages_optimized") == 6
    assert found.counters.total("optimize_failures", "unknown") == failed(truth) == 3
    missed = Counter(found.diagnostics)
    assert missed["missed_optimize"] >= 9
    assert missed["missed_restore"] == 3
    if stream:
        kinds = Counter(event.kind for event in found.events)
        expected = Counter(event.kind for event in script.recorder.events[FULL])
        assert kinds == expected


@pytest.mark.parametrize("name", ["5.14", "7.1"])
def test_every_page_is_counted_if_drops_can_not_be_detected(name: str, lab: Lab) -> None:
    """The address of the return trampoline is not known."""
    kernel, page = KERNELS[name], Page(0, 9, 1)
    script = Script(kernel, lab.arena, drops=lambda: True)
    script.optimize(page).restore(page).optimize(page)
    script.recorder.end_task()
    program = program_for(kernel, KPROBES)
    library = ready(lab, program.text)
    settings_of(library)[Setting.RETURN_TRAMPOLINE] = 0
    library.play(encode(script.recorder.calls), attached(program))
    found = seen(program, library)
    truth = expected_counters(program, script.recorder.events[FULL])
    assert page_totals(found.counters) == page_totals(truth)
    assert found.diagnostics["missed_optimize"] == 2
    assert found.diagnostics["missed_restore"] == 1


@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(
    name=st.sampled_from([name for name in KERNELS if "7.2" not in name]),
    seed=st.integers(0, 2**16),
    stream=st.booleans(),
)
def test_randomly_dropped_returns_lose_no_page(
    name: str, seed: int, stream: bool, lab: Lab
) -> None:
    """Three tasks share a slot; each dropped return of a hooked function is counted once."""
    kernel, random = KERNELS[name], Random(seed)  # noqa: S311 - drawn by hypothesis
    scripts = [
        Script(
            kernel,
            lab.arena,
            pid=6000 + 1024 * part,
            part=part,
            drops=lambda: random.random() < 0.3,
            cpus=wandering(seed, LAYOUT.cpus),
        )
        for part in range(3)
    ]
    for script in scripts:
        for _ in range(6):
            page = Page(random.randrange(2), random.choice((9, 13)), random.randrange(3))
            script.optimize(page, fails_after=random.choice((None, None, 3)))
            script.restore(page, fails=random.random() < 0.1)
        script.recorder.end_task()
    program = program_for(kernel, Variant(FULL, stream, fentry=False))
    found = play(program, encode(interleaved(*scripts)), lab)
    events = [e for script in scripts for e in script.recorder.events[FULL]]
    truth = expected_counters(program, events)
    assert page_totals(found.counters) == page_totals(truth)
    assert failed(found.counters) == failed(truth)
    counted = sum(n for name, n in found.diagnostics.items() if name.startswith("missed_"))
    dropped = sum(hooked_and_dropped(program, script) for script in scripts)
    # If the range's return already ended a failed operation, its roll-back belongs to none.
    assert dropped - failed(truth) <= counted <= dropped
    assert found.diagnostics["map_errors"] == 0


RANGED = pytest.mark.parametrize(
    "kernel", [kernel for kernel in KERNELS.values() if RANGE in kernel.modes], ids=str
)


@RANGED
def test_the_return_of_a_walk_replaces_the_dropped_return_of_its_page(
    kernel: Kernel, lab: Lab
) -> None:
    """In range mode, if the page function's return is dropped but that of its walk is not."""
    page = Page(0, 9, 1)
    drop = iter([True])
    script = Script(kernel, lab.arena, drops=lambda: next(drop, False))
    script.optimize(page)
    drop = iter([True])
    script.restore(page)
    program = program_for(kernel, Variant(RANGE, stream=False, fentry=False))
    found = play(program, encode(script.recorder.calls), lab)
    assert found.counters.total("optimize_calls") == 1
    assert found.counters.total("hugepages_optimized") == 1
    assert found.counters.total("hugepages_restored") == 1
    truth = expected_counters(program, script.recorder.events[RANGE])
    assert page_totals(found.counters) == page_totals(truth)


@RANGED
def test_a_page_whose_walk_return_is_dropped_is_counted_as_missed(kernel: Kernel, lab: Lab) -> None:
    """In range mode the count is read at the walk's return, so the page can't be counted."""
    page = Page(0, 9, 1)
    drop: Iterator[bool] = iter(())
    script = Script(kernel, lab.arena, drops=lambda: next(drop, False))
    script.optimize(page).restore(page)
    whole = list(script.recorder.events[RANGE])
    drop = iter([True] * 9)
    script.optimize(page)
    drop = iter(())
    script.restore(page)
    program = program_for(kernel, Variant(RANGE, stream=False, fentry=False))
    found = play(program, encode(script.recorder.calls), lab)
    assert found.counters.total("optimize_calls") == 2
    assert found.counters.total("hugepages_optimized") == 1
    assert found.counters.total("hugepages_restored") == 2
    assert found.diagnostics["missed_optimize"] >= 1
    assert len(whole) < len(script.recorder.events[RANGE])


@pytest.mark.parametrize(
    "kernel", [kernel for kernel in KERNELS.values() if not kernel.is_split], ids=str
)
def test_trampolines_drop_no_returns(kernel: Kernel, lab: Lab) -> None:
    """Kernels with a split function are excluded, because ``.part`` has no trampoline."""
    script = Script(kernel, lab.arena, drops=lambda: True)
    script.optimize(Page(0, 9, 1)).restore(Page(0, 9, 1))
    for variant in variants(kernel):
        if variant.fentry:
            program = program_for(kernel, variant)
            found = play(program, encode(script.recorder.calls), lab)
            check(program, found, script.recorder.events[variant.mode])


@EVERY
def test_the_return_register_of_a_void_function_is_not_read(kernel: Kernel, lab: Lab) -> None:
    """It looks like -ENOMEM at every return, but no failure is counted."""
    page = Page(0, 9, 1)
    script = Script(kernel, lab.arena)
    if "batch" in kernel.steps:
        script.batch(9, page).restore(page)
    else:
        script.optimize(page).restore(page)
    assert any(call.at_return and call.result == VOID for call in script.recorder.calls)
    for variant in variants(kernel):
        program = program_for(kernel, variant)
        found = play(program, encode(script.recorder.calls), lab)
        assert failed(found.counters) == 0
        assert found.counters.total("hugepages_optimized") == 1
        check(program, found, script.recorder.events[variant.mode])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_an_operation_that_began_before_arming_is_ignored(variant: Variant, lab: Lab) -> None:
    """Later operations are counted."""
    kernel, page = KERNELS["6.7"], Page(0, 9, 1)
    script = Script(kernel, lab.arena).optimize(page)
    before = len(script.recorder.calls)
    script.recorder.events[variant.mode].clear()
    script.restore(page).optimize(page)
    program = program_for(kernel, variant)
    library = ready(lab, program.text)
    settings_of(library)[Setting.ARMED] = 0
    library.play(encode(script.recorder.calls[:before]), attached(program))
    settings_of(library)[Setting.ARMED] = 1
    library.play(encode(script.recorder.calls[before:]), attached(program))
    check(program, seen(program, library), script.recorder.events[variant.mode])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_task_that_ends_during_an_operation_releases_its_slot(variant: Variant, lab: Lab) -> None:
    """Its slot and hash entry are free again, and its operation is counted as missed."""
    kernel, page = KERNELS["6.7"], Page(0, 9, 1)
    killed = [Script(kernel, lab.arena, pid=7000 + 1024 * n, part=n) for n in range(3)]
    calls = []
    for script in killed:
        script.optimize(page)
        del script.recorder.calls[-3:]  # its last PTE, the walk's return, and its own
        script.recorder.end_task()
        calls += script.recorder.calls
    script = Script(kernel, lab.arena, pid=7000)
    script.optimize(page).restore(page)
    program = program_for(kernel, variant)
    library = ready(lab, program.text)
    library.limit("operations", 1)
    library.play(encode(calls), attached(program))
    found = seen(program, library)
    assert found.diagnostics["missed_optimize"] == 3
    assert found.diagnostics["map_errors"] == 0
    script_calls = script.recorder.calls
    library.play(encode(script_calls), attached(program))
    after = seen(program, library)
    library.limit("operations", 4096)
    assert after.counters.total("hugepages_optimized") == 1
    assert after.diagnostics["map_errors"] == 0
