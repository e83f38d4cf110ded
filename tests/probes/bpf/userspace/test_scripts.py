# SPDX-License-Identifier: Apache-2.0
"""Failures at any PTE with any errno, unknown sizes, full maps and full rings."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from probes.backend import FULL
from probes.counters import ENOTSUPP
from probes.events import RECORD, Reason, canonical
from tests.probes.bpf.userspace.kernels import KERNELS
from tests.probes.bpf.userspace.library import encode
from tests.probes.bpf.userspace.recorder import wandering
from tests.probes.bpf.userspace.run import (
    LAYOUT,
    VARIANTS,
    Lab,
    Variant,
    attached,
    check,
    play,
    program_for,
    ready,
    seen,
    variants,
)
from tests.probes.bpf.userspace.script import Page, Script, interleaved

_FAILING = st.sampled_from(("5.14", "6.0", "6.2", "6.7", "7.1", "7.2"))
_PAGES = st.builds(Page, st.integers(0, 1), st.sampled_from((9, 9, 13)), st.integers(0, 2))
_ERRNOS = st.sampled_from((12, ENOTSUPP, 1, 22))
_TIMES = st.one_of(st.integers(0, 10**5), st.sampled_from((10**6, 10**7, 2 * 10**8)))


def optimize(script: Script, page: Page, after: int | None, head: bool, each: int) -> None:
    script.optimize(page, fails_after=after, head=head, each_ns=each)


def restore(script: Script, page: Page, after: int | None, head: bool, each: int) -> None:
    script.restore(page, fails=after is not None, each_ns=each)


def skip(script: Script, page: Page, after: int | None, head: bool, each: int) -> None:
    script.skip(page, Reason.OTHER if head else Reason.OFF)


_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from((optimize, optimize, restore, skip)),
        _PAGES,
        st.one_of(st.none(), st.integers(0, 7)),
        st.booleans(),
        _TIMES,
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=8, phases=(Phase.explicit, Phase.generate))
@given(
    name=_FAILING,
    operations=st.lists(_OPERATIONS, min_size=1, max_size=4),
    errnos=st.lists(_ERRNOS, min_size=1, max_size=8),
    tasks=st.tuples(st.sampled_from((1, 1024)), st.integers(0, 99)),
)
def test_operations_that_fail_at_any_pte_are_counted_correctly(
    lab: Lab,
    name: str,
    operations: list[list[tuple[object, ...]]],
    errnos: list[int],
    tasks: tuple[int, int],
) -> None:
    """Up to four interleaved tasks on any CPUs, with shared or separate slots."""
    kernel = KERNELS[name]
    apart, seed = tasks
    scripts = []
    for part, script_operations in enumerate(operations):
        script = Script(
            kernel,
            lab.arena,
            pid=4000 + part * apart,
            part=part,
            errnos=tuple(errnos),
            cpus=wandering(seed + part, LAYOUT.cpus),
        )
        for do, *arguments in script_operations:
            do(script, *arguments)  # type: ignore[operator]
        scripts.append(script)
    encoded = encode(interleaved(*scripts))
    for variant in variants(kernel):
        program = program_for(kernel, variant)
        events = [e for script in scripts for e in script.recorder.events[variant.mode]]
        check(program, play(program, encoded, lab), events)


@pytest.mark.parametrize("name", ["6.2", "7.1"])
def test_a_gigantic_page_that_fails_at_pte_3001_is_one_failure(name: str, lab: Lab) -> None:
    kernel, page = KERNELS[name], Page(0, 18, 2)
    script = Script(kernel, lab.arena, errnos=(ENOTSUPP,)).optimize(page, fails_after=3001)
    script.optimize(page).restore(page)
    for variant in variants(kernel):
        program = program_for(kernel, variant)
        found = play(program, encode(script.recorder.calls), lab)
        check(program, found, script.recorder.events[variant.mode])
        assert found.counters.total("optimize_failures", "ENOTSUPP") == 1


def test_canonical_events_of_program_and_simulator_are_equal(lab: Lab) -> None:
    """Canonical events are used to compare traces of different kernels."""
    kernel = KERNELS["6.7"]
    script = Script(kernel, lab.arena).optimize(Page(0, 9, 1)).restore(Page(0, 9, 1))
    program = program_for(kernel, Variant(FULL, stream=True, fentry=False))
    found = play(program, encode(script.recorder.calls), lab)
    assert list(canonical(found.events)) == list(canonical(script.recorder.events[FULL]))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("page", [Page(0, 10, 0), Page(0, 9, 3)], ids=["size", "node"])
def test_a_size_or_node_without_counter_is_one_map_error(
    page: Page, variant: Variant, lab: Lab
) -> None:
    """Later operations are counted correctly."""
    kernel = KERNELS["6.7"]
    script = Script(kernel, lab.arena)
    known = script.recorder.events[variant.mode]
    script.optimize(page)
    known.clear()
    script.optimize(Page(1, 9, 1))
    program = program_for(kernel, variant)
    found = play(program, encode(script.recorder.calls), lab)
    assert found.diagnostics.pop("map_errors") == 1
    check(program, found, known)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_operations_beyond_the_map_size_are_map_errors(variant: Variant, lab: Lab) -> None:
    """Six tasks share a slot at the same time: one uses the slot, three the hash of size 3."""
    kernel = KERNELS["6.7"]
    scripts = [Script(kernel, lab.arena, pid=5000 + 1024 * n, part=n) for n in range(6)]
    for script in scripts:
        script.optimize(Page(0, 9, 1))
    program = program_for(kernel, variant)
    library = ready(lab, program.text)
    library.limit("operations", 3)
    library.play(encode(interleaved(*scripts)), attached(program))
    found = seen(program, library)
    library.limit("operations", 4096)
    assert found.diagnostics["map_errors"] == 2
    assert found.counters.total("optimize_calls") == 6
    assert found.counters.total("hugepages_optimized") == 4
    assert found.counters.total("frames_freed") == 4 * 8


def test_a_full_ring_loses_records_but_no_counts(lab: Lab) -> None:
    kernel = KERNELS["6.7"]
    script = Script(kernel, lab.arena)
    for _ in range(9):
        script.optimize(Page(0, 9, 1)).restore(Page(0, 9, 1))
    program = program_for(kernel, Variant(FULL, stream=True, fentry=False))
    expected = script.recorder.events[FULL]
    library = ready(lab, program.text)
    library.world.ring_size = 40 * RECORD.size
    library.play(encode(script.recorder.calls), attached(program))
    found = seen(program, library)
    assert found.diagnostics["stream_sent"] == len(expected)
    assert found.diagnostics["stream_lost"] == len(expected) - len(found.events) > 100
    assert found.counters.total("ptes_remapped") == 9 * 8
    assert found.counters.total("ptes_restored") == 9 * 7


def test_the_reader_is_woken_once_per_256_records(lab: Lab) -> None:
    kernel = KERNELS["6.7"]
    script = Script(kernel, lab.arena)
    for _ in range(9):
        script.optimize(Page(0, 13, 1))
    program = program_for(kernel, Variant(FULL, stream=True, fentry=False))
    text = program.text
    (line,) = (line for line in text.splitlines() if line.startswith("#define HVO_WAKE_EVERY"))
    text = text.replace(line, "#define HVO_WAKE_EVERY (256)")
    library = ready(lab, text)
    library.play(encode(script.recorder.calls), attached(program))
    records = len(script.recorder.events[FULL])
    assert library.world.wakeups == records // 256 > 2
