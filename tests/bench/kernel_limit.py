# SPDX-License-Identifier: Apache-2.0
"""What the kernel's probes take from a program that does nothing, and what hvoscope's add to it.

And the cost on a kernel that zeroes what it allocates, as Debian boots it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from probes.backend import FULL, RANGE
from probes.geometry import MIB
from tests.bench.figures import Figure, Ratio, Table, figure, table
from tests.bench.kernel_cost_guest import CLOCK, EMPTY, VERBS, Job

GOALS = {FULL: 1.3, RANGE: 1.6}
"""By the first word of a way: at most so many times what the empty programs add."""
ZEROING = "init_on_alloc=1"
"""Debian's default. The other boots have 0, so that an emulated CPU is done in time."""
ZEROED_PAGES = 51

Notes = Mapping[str, Any]


def empty(way: str) -> str:
    """The same hooks with programs that only return 0."""
    return f"{way} {EMPTY}"


def timing(way: str) -> str:
    """The same, but for the clock, read where an operation begins and ends."""
    return f"{way} {CLOCK}"


def job_of_zeroed(ways: tuple[str, ...]) -> Job:
    """What to measure on a kernel that zeroes."""
    return Job(ways, (ZEROED_PAGES,), False, 3)


def times(notes: Notes, way: str, pages: int, what: str) -> Figure:
    """``what`` (``grow_cpu`` ...) with the probes of ``way``, of pages of 2 MB."""
    return figure(notes[way]["during"][_key(pages)][what])


def baseline(notes: Notes, way: str, pages: int, what: str) -> Figure:
    """Before and after in one: as a single value, since none of them belongs to one repetition."""
    both = [notes[way][when][_key(pages)][what] for when in ("before", "after")]
    return figure([figure(both[0] + both[1]).median])


def added(notes: Notes, way: str, pages: int, what: str) -> float:
    """Instructions that the probes of ``way`` add for each page of 2 MB."""
    extra = times(notes, way, pages, what).median - baseline(notes, way, pages, what).median
    return extra / pages


def over_empty(notes: Notes, way: str, pages: int) -> float:
    """What the probes of ``way`` add over what empty ones add, the worse of both directions."""
    return max(
        added(notes, way, pages, f"{verb}_cpu") / added(notes, empty(way), pages, f"{verb}_cpu")
        for verb in VERBS
    )


def ratios(
    kernel_name: str, suffix: str, notes: Notes, ways: tuple[str, ...], pages: int
) -> Iterator[tuple[str, Ratio]]:
    """Of each way beside its empty programs, with its goal."""
    for way in ways:
        if way in notes and empty(way) in notes:
            yield (
                f"kernel_cost.{way.replace(' ', '_')}_over_empty_{suffix}",
                Ratio(
                    over_empty(notes, way, pages),
                    goal=GOALS[way.split()[0]],
                    about=f"{kernel_name}: what `{way}` adds over what programs add that only"
                    " return 0, the worse of grow and shrink",
                ),
            )


def limits(kernel_name: str, notes: Notes, ways: tuple[str, ...], pages: int) -> Iterator[Table]:
    """Instructions of both, in each direction."""
    known = [way for way in ways if way in notes and empty(way) in notes]
    if not known:
        return
    heads = [f"{verb}{what}" for verb in VERBS for what in ("", ", empty", ", times", ", clock")]
    yield table(
        f"{kernel_name}: the limit, instructions of the caller that the probes add for each page of"
        " 2 MB",
        ("probes", *heads),
        (
            (way, *(cell for verb in VERBS for cell in _cells(notes, way, pages, verb)))
            for way in known
        ),
        "`empty`: programs that only return 0 on the same functions, attached the same way, in the"
        " same boot. No program can add less. `clock`: those that also read the clock where an"
        " operation begins and ends; none that times it can add less.",
    )


def _cells(notes: Notes, way: str, pages: int, verb: str) -> tuple[str, str, str, str]:
    own, least = (added(notes, one, pages, f"{verb}_cpu") for one in (way, empty(way)))
    timed = timing(way)
    clock = f"{added(notes, timed, pages, f'{verb}_cpu'):,.0f}" if timed in notes else "-"
    return f"{own:,.0f}", f"{least:,.0f}", f"{own / least:.2f}", clock


def zeroed(plain: Mapping[str, Notes], zeroing: Mapping[str, Notes]) -> Iterator[Table]:
    """The caller's time without probes on kernels that zero and that do not, and its factor."""
    if not zeroing:
        return
    rows = []
    for kernel_name, notes in zeroing.items():
        for how, seen in (("0", plain[kernel_name]), ("1", notes)):
            for way in notes:
                if _key(ZEROED_PAGES) in seen[way]["during"]:
                    rows.append((kernel_name, f"init_on_alloc={how}", way, *_beside(seen, way)))
    yield table(
        "As Debian boots: each page is zeroed when it is allocated",
        (
            "kernel",
            "boot",
            "probes",
            *(f"{verb}{what}" for verb in VERBS for what in (" alone", "")),
        ),
        rows,
        f"Of {ZEROED_PAGES} pages of 2 MB: instructions of the caller for each page without probes,"
        " and its time with the probes over that. The probes add the same to either.",
    )


def _beside(notes: Notes, way: str) -> Iterator[str | Figure]:
    for verb in VERBS:
        alone = baseline(notes, way, ZEROED_PAGES, f"{verb}_cpu")
        yield f"{alone.median / ZEROED_PAGES:,.0f}"
        yield times(notes, way, ZEROED_PAGES, f"{verb}_cpu").over(alone)


def _key(pages: int) -> str:
    return f"{2 * MIB} {pages}"
