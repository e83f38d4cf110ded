# SPDX-License-Identifier: Apache-2.0
"""Builds programs as the loader does, plays calls to them, and computes the expected results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from probes.backend import MODES, RANGE
from probes.bpf.kernel_facts import from_btf
from probes.bpf.layout import Layout
from probes.bpf.program import (
    SETTINGS_MAP,
    EntryPoint,
    Setting,
    entry_points,
    needs_range_entry,
    source,
    task_exit,
)
from probes.counters import DURATIONS, PAGE_DURATIONS, Counters, PageKey, reduce
from probes.events import Event, Kind, unpack_all
from probes.kernel.hooks import select_hooks
from probes.live.numbering import Numbering
from probes.observed import observed_durations, observed_slots
from tests.probes.bpf.userspace.kernels import Kernel
from tests.probes.bpf.userspace.library import TRAMPOLINE, Compiler, EncodedCalls, Library, Point
from tests.probes.bpf.userspace.recorder import Arena

LAYOUT = Layout(orders=(4, 9, 13, 18), nodes=3, cpus=8)
PAGE_SIZE = 4096

_PTES = frozenset({Kind.REMAP_PTE, Kind.RESTORE_PTE})


class Variant(NamedTuple):
    """Probe mode, stream and attach type, and whether the stream has stacks."""

    mode: str
    stream: bool
    fentry: bool
    stacks: bool = False

    def __str__(self) -> str:
        """Used in test ids."""
        stream = "stacks" if self.stacks else "stream" if self.stream else "counters"
        return f"{self.mode}-{stream}-{'fentry' if self.fentry else 'kprobe'}"


@dataclass(frozen=True)
class Lab:
    """The compiler of all programs, and the memory that all kernels share."""

    compiler: Compiler
    arena: Arena


VARIANTS = tuple(Variant(*v) for v in product(MODES, (False, True), (False, True)))


def variants(kernel: Kernel) -> tuple[Variant, ...]:
    """Return the variants that ``kernel`` supports."""
    return tuple(variant for variant in VARIANTS if variant.mode in kernel.modes)


@dataclass(frozen=True)
class Program:
    """Source for a kernel, and the attach points of its functions."""

    kernel: Kernel
    variant: Variant
    text: str
    points: tuple[EntryPoint, ...]
    steps: tuple[str, ...]
    """Selected steps."""


@dataclass(frozen=True)
class Seen:
    """Output of a program."""

    counters: Counters
    events: Sequence[Event]
    diagnostics: dict[str, int]


def program_for(kernel: Kernel, variant: Variant) -> Program:
    """Select hooks and generate the source, as ``probes.bpf.compose`` does."""
    mode, stream, fentry, stacks = variant
    btf = kernel.btf
    selected = select_hooks(kernel.functions, mode, stream=stream, btf=btf)
    assert all(step.hooks for step in selected)
    facts = from_btf(btf, mode)
    points = {step.step: entry_points(step, btf, fentry) for step in selected}
    ranges = needs_range_entry(mode, stream, facts, points.get("remap_range", ()))
    if "remap_range" in points and not ranges:
        points["remap_range"] = tuple(p for p in points["remap_range"] if p.at_return)
    at_exit = task_exit(btf, fentry)
    all_points = (*(point for step in points.values() for point in step), at_exit)
    text = source(
        facts,
        LAYOUT,
        PAGE_SIZE,
        all_points,
        mode=mode,
        stream=stream,
        stacks=stacks,
        ranges=ranges,
        steps=points.keys(),
    )
    return Program(kernel, variant, text, all_points, tuple(points))


def play(
    program: Program,
    calls: EncodedCalls,
    lab: Lab,
    *,
    text: str = "",
    flags: Sequence[str] = (),
    switch_shown: bool = True,
) -> Seen:
    """Play ``calls`` to ``program``, or to the source ``text`` instead of the program's."""
    library = ready(lab, text or program.text, *flags)
    if not switch_shown:
        settings_of(library)[Setting.SWITCH] = 0
    library.play(calls, attached(program))
    return seen(program, library)


def ready(lab: Lab, text: str, *flags: str) -> Library:
    """Compile ``text``, clear its maps, and set what the loader sets."""
    library = lab.compiler.library(text, *flags)
    library.reset(lab.arena)
    settings = settings_of(library)
    settings[Setting.SWITCH] = lab.arena.switch
    settings[Setting.RETURN_TRAMPOLINE] = TRAMPOLINE
    settings[Setting.ARMED] = 1
    return library


def settings_of(library: Library) -> memoryview:
    """Return the settings map, indexed by ``Setting``."""
    return library.memory(SETTINGS_MAP).cast("Q")


def attached(program: Program) -> list[Point]:
    """Convert the entry points for the stub."""
    functions = program.kernel.functions
    returns = {p.symbol for p in program.points if p.at_return and not p.fentry}
    return [
        Point(
            _c_name(point),
            (point.symbol, point.at_return),
            point.fentry,
            point.symbol in returns,
            len(functions[point.symbol].parameters),
        )
        for point in program.points
    ]


def seen(program: Program, library: Library) -> Seen:
    """Decode the program's maps and ring, as the live backend does."""
    mode, stream, *_ = program.variant
    block = LAYOUT.sum_blocks(library.memory("counters"))
    counters = LAYOUT.counters(
        block,
        observed_slots(program.steps, mode, program.steps),
        observed_durations(program.steps, mode, program.steps),
    )
    records = Numbering().number(library.records()) if stream else b""
    return Seen(counters, list(unpack_all(records)), dict(LAYOUT.diagnostics(block)))


def expected_counters(program: Program, events: Iterable[Event]) -> Counters:
    """Reduce ``events``, with zeros for all other sizes and nodes of the layout."""
    keys = [PageKey(*key) for key in product(LAYOUT.orders, range(LAYOUT.nodes))]
    return reduce(events, keys, DURATIONS if "batch" in program.steps else PAGE_DURATIONS)


def expected_events(program: Program, events: Iterable[Event]) -> list[Event]:
    """Return those of ``events`` that this mode reports."""
    hidden = _PTES if program.variant.mode == RANGE else frozenset()
    return [event for event in events if event.kind not in hidden]


def by_task(events: Iterable[Event]) -> dict[int, list[Event]]:
    """Group events by task, without sequence numbers, which depend on the order of all tasks."""
    tasks: dict[int, list[Event]] = {}
    for event in events:
        tasks.setdefault(event.pid, []).append(event._replace(sequence=0))
    return tasks


def check(program: Program, found: Seen, events: Sequence[Event]) -> None:
    """Compare the program's output with ``events``, including times, tasks and CPUs."""
    assert found.counters == expected_counters(program, events)
    sent = found.diagnostics.pop("stream_sent")
    assert not any(found.diagnostics.values()), found.diagnostics
    assert sent == len(found.events)
    if program.variant.stream:
        assert by_task(found.events) == by_task(expected_events(program, events))
        for cpu in {event.cpu for event in found.events}:
            numbers = [event.sequence for event in found.events if event.cpu == cpu]
            assert numbers == list(range(len(numbers)))


def _c_name(point: EntryPoint) -> str:
    if not point.fentry:
        return point.name
    return f"{'kretfunc' if point.at_return else 'kfunc'}__{point.symbol}"
