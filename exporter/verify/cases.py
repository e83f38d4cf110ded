# SPDX-License-Identifier: Apache-2.0
"""The cases: operations that leave the pools as they were, by counts that fit the memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from exporter.verify.machine import END_USE, FAIL, USE, HugePageSize, Machine
from probes.geometry import size_label
from probes.operations import Operation

_FEW, _MANY = (23, 5, 3, 2, 1), (509, 61)
"""Numbers of pages, the largest that fits is used; primes, so that no product is right by luck."""
_ON, _OFF = Operation("hvo", on=True), Operation("hvo", on=False)


@dataclass(frozen=True)
class Case:
    """Operations that are judged one by one, and their memory as a whole."""

    name: str
    about: str
    operations: tuple[Operation, ...] = ()
    peak: int = 0
    """Bytes of huge pages that exist at once."""
    skip: str = ""
    """Why it can't be done on this machine; empty if it can."""
    empty_pool: int | None = None
    """Size in bytes whose pool must be empty, so that a task gets no page of the pool."""
    asked: bool = False
    """Only for those who name it."""


def cases_of(machine: Machine, budget: int) -> list[Case]:
    """All cases, those with least memory first; none takes more than ``budget`` bytes."""
    found = [
        case
        for size in machine.sizes
        if size.net_frames != 0
        for case in _cases_of_size(size, machine, budget)
    ]
    return sorted(found, key=lambda case: case.peak)


def _cases_of_size(size: HugePageSize, machine: Machine, budget: int) -> Iterator[Case]:
    few = _most_that_fits(size, (1,) if size.gigantic else _FEW, budget)
    many = 0 if size.gigantic else _most_that_fits(size, _MANY, budget)
    label = size_label(size.size)
    if not few:
        yield Case(f"grow-{label}", f"grow and shrink {label}", skip=_too_little(size.size, budget))
        return
    yield _case("grow", size, few, machine, ("grow", few), ("shrink", few))
    if many:
        yield _case("grow-many", size, many, machine, ("grow", many), ("shrink", many))
    if not size.gigantic:
        yield _case("use", size, few, machine, (USE, few), (END_USE, few))
        yield _without_memory(size, few, machine)
    yield _switched_off(size, few, machine)
    if few >= 5:  # three and two
        yield _flipped(size, machine)
    if size.smaller is not None:
        yield _demoted(size, size.smaller, machine)


def _case(
    what: str, size: HugePageSize, peak: int, machine: Machine, *verbs: tuple[str, int]
) -> Case:
    operations = tuple(Operation(verb, size.size, pages) for verb, pages in verbs)
    return Case(
        f"{what}-{size_label(size.size)}",
        ", ".join(map(str, operations)),
        _switched_on(machine, operations),
        peak * size.size,
        empty_pool=size.size if USE in dict(verbs) else None,
    )


def _switched_off(size: HugePageSize, pages: int, machine: Machine) -> Case:
    operations = (
        _OFF,
        Operation("grow", size.size, pages),
        Operation("shrink", size.size, pages),
        _ON,
    )
    return _needs_switch(f"off-{size_label(size.size)}", operations, pages * size.size, machine)


def _flipped(size: HugePageSize, machine: Machine) -> Case:
    """Optimized pages stay so when the switch goes off, and are restored all the same."""
    operations = (
        _ON,
        Operation("grow", size.size, 3),
        _OFF,
        Operation("grow", size.size, 2),
        Operation("shrink", size.size, 5),
        _ON,
    )
    return _needs_switch(f"flip-{size_label(size.size)}", operations, 5 * size.size, machine)


def _demoted(size: HugePageSize, smaller: int, machine: Machine) -> Case:
    operations = (
        Operation("grow", size.size, 1),
        Operation("demote", size.size, 1),
        Operation("shrink", smaller, size.size // smaller),
    )
    return Case(
        f"demote-{size_label(size.size)}",
        ", ".join(map(str, operations)),
        _switched_on(machine, operations),
        size.size,
    )


def _without_memory(size: HugePageSize, pages: int, machine: Machine) -> Case:
    """Pages that can't be restored stay, as surplus, and go once there is memory."""
    grow_fail_shrink = ("grow", pages), (FAIL, pages), ("shrink", pages)
    case = _case("no-memory", size, pages, machine, *grow_fail_shrink)
    return replace(case, skip=machine.never_fails, asked=True)


def _needs_switch(
    name: str, operations: tuple[Operation, ...], peak: int, machine: Machine
) -> Case:
    skip = "" if machine.has_switch else "the kernel has no switch at run time (Linux 5.19)"
    return Case(name, ", ".join(map(str, operations)), operations, peak, skip)


def _switched_on(machine: Machine, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    return (_ON, *operations) if machine.has_switch else operations


def _most_that_fits(size: HugePageSize, counts: Sequence[int], budget: int) -> int:
    return next((count for count in counts if count * size.size <= budget), 0)


def _too_little(size: int, budget: int) -> str:
    return f"one page takes {size_label(size)}, the share of free memory is {budget >> 20} MiB"
