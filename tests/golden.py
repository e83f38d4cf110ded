# SPDX-License-Identifier: Apache-2.0
"""Golden traces: what real kernels did, event by event, for the simulator to answer to.

A golden trace is a recording cut down to what a kernel and its simulation can agree on:
``probes.events.CanonicalEvent`` says which fields those are, and why the others can't be. Its
header has the kernel, the command, the date and the operations.

::

    python -m tests.golden store RECORDING GOLDEN --generation 6.0 --command '...' \\
        --op 'hvo on' --op 'grow 2MB 23'
    python -m tests.golden compare GOLDEN...

``store`` refuses a recording that has lost anything. Exit code 1: they differ; 2: bad input.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from probes.counters import Counters
from probes.events import CanonicalEvent, Event, Kind, canonical, unpack_all
from probes.observation import Observation, Probes
from probes.recording.gaps import GapFinder
from probes.recording.trace_file import (
    BLOCK_RECORDS,
    Header,
    TraceFileError,
    TraceReader,
    TraceWriter,
)
from tests.simulated import Setup, Simulation

TRACES = Path(__file__).with_name("data") / "traces"

_VMEMMAP = 0xFFFFEA0000000000
"""Where every huge page's vmemmap is put to: without its base, x86-64's."""
_CONTEXT = 3


@dataclass(frozen=True)
class Golden:
    """A golden trace as it was read."""

    name: str
    header: Header
    setup: Setup
    events: list[CanonicalEvent]
    counters: Counters
    """The kernel's totals; no durations."""


def store(recording: Path, golden: Path, setup: Setup, command: str) -> None:
    """Write the golden trace of a recording. Raises ``TraceFileError`` and ``OSError``."""
    header, last, records = _read(recording)
    if header.mode not in ("full", "simulated"):
        raise TraceFileError(f"{recording}: mode {header.mode}: PTEs are seen in mode full only")
    finder = GapFinder()
    gaps = [gap for _, gap in finder.gaps(records)]
    lost = [*last.status.lost.values(), *last.status.missed.values()]
    if gaps or any(lost):
        raise TraceFileError(f"{recording}: it has lost events {gaps or lost}: record it again")
    trimmed = b"".join(event.pack() for event in trim(unpack_all(records)))
    assert list(canonical(unpack_all(trimmed))) == list(canonical(unpack_all(records)))
    golden.parent.mkdir(parents=True, exist_ok=True)
    with golden.open("wb", buffering=0) as file:
        notes = {"command": command, **asdict(setup)}
        writer = TraceWriter(
            file,
            replace(header, generation=setup.generation, monotonic_ns=0, events_ns=0, notes=notes),
            level=9,
        )
        seen = Observation(0, Probes(Counters(last.counters.totals), last.status))
        for at in range(0, len(trimmed), step := BLOCK_RECORDS * 96):
            writer.write(seen, trimmed[at : at + step])
        writer.finish("trimmed to what can be equal")


def trim(events: Iterable[Event]) -> Iterator[Event]:
    """Give every field that can't be equal a value that never changes.

    Tasks are numbered as they appear, and every huge page's vmemmap begins at one address.
    """
    base: dict[int, int] = {}
    tasks: dict[int, int] = {}
    sequence = 0
    for event in events:
        if event.kind in (Kind.OPTIMIZE_ENTER, Kind.RESTORE_ENTER):
            base[event.pid] = event.start
        batch = event.kind in (Kind.BATCH_ENTER, Kind.BATCH_EXIT)
        if event.pid not in base and not batch:
            continue
        move = 0 if batch else _VMEMMAP - base[event.pid]
        task = tasks.setdefault(event.pid, len(tasks) + 1)
        yield event._replace(
            timestamp_ns=sequence,
            sequence=sequence,
            start=event.start + move,
            end=event.end + move,
            reuse=event.reuse + move if event.reuse else 0,
            duration_ns=0,
            pid=task,
            tgid=task,
            cpu=0,
        )
        sequence += 1
        if event.kind in (Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT):
            del base[event.pid]


def load(path: Path) -> Golden:
    """Read a golden trace. Raises ``TraceFileError``."""
    header, last, records = _read(path)
    notes: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in header.notes.items()
    }
    notes.pop("command", None)
    try:
        setup = Setup(**notes)
    except TypeError as error:
        raise TraceFileError(f"{path}: no golden trace: {error}") from error
    return Golden(path.name, header, setup, list(canonical(unpack_all(records))), last.counters)


def first_difference(golden: Golden) -> str:
    """Where the simulator first does other than the kernel, to be read; empty when nowhere."""
    operation = ""
    before: list[str] = []
    simulation = Simulation(golden.setup)
    simulated = simulation.events()
    for number, (real, made) in enumerate(zip_longest(golden.events, simulated)):
        operation, event = made or (operation, None)
        if real != event:
            following = list(zip_longest(golden.events[number + 1 :], (e for _, e in simulated)))
            return "\n".join(
                (
                    f"{golden.name} ({golden.header.about()}): event {number} differs, in "
                    f"{operation!r} of the simulator {golden.setup.generation}",
                    *before[-_CONTEXT:],
                    *_both(number, real, event),
                    f"       differs in {_fields_that_differ(real, event)}",
                    *(
                        line
                        for at, pair in enumerate(following[:_CONTEXT], number + 1)
                        for line in _both(at, *pair)
                    ),
                )
            )
        before.append(_line(number, "both", real))
    return _memmap_difference(golden, simulation.memmap_pages)


def _memmap_difference(golden: Golden, simulated: Sequence[int]) -> str:
    """Where nr_memmap_pages + nr_memmap_boot_pages first differ, if the kernel has them."""
    steps = ("boot", *golden.setup.operations)
    for step, real, made in zip(steps, golden.setup.memmap_pages, simulated, strict=False):
        if real != made:
            return (
                f"{golden.name} ({golden.header.about()}): memmap pages differ after {step!r}: "
                f"kernel {real}, simulator {made}"
            )
    return ""


def _both(number: int, real: CanonicalEvent | None, made: CanonicalEvent | None) -> list[str]:
    if real == made:
        return [_line(number, "both", real)]
    return [_line(number, "kernel", real), _line(number, "simulator", made)]


def _line(number: int, whose: str, event: CanonicalEvent | None) -> str:
    if event is None:
        return f"{number:>6} {whose:<9} has no more events"
    reuse = "-" if event.reuse is None else f"{event.reuse:#x}"
    return (
        f"{number:>6} {whose:<9} {event.kind.name.lower():<14} order {event.order} "
        f"node {event.node} {event.start:#x}..{event.end:#x} reuse {reuse} ptes {event.ptes} "
        f"freed {event.frames_freed} allocated {event.frames_allocated} ret {event.ret} "
        f"{event.reason.name.lower()}"
    )


def _fields_that_differ(real: CanonicalEvent | None, made: CanonicalEvent | None) -> str:
    if real is None or made is None:
        return "length"
    pairs = zip(CanonicalEvent._fields, real, made, strict=True)
    return ", ".join(f"{name} (kernel {a}, simulator {b})" for name, a, b in pairs if a != b)


def _read(path: Path) -> tuple[Header, Observation, bytes]:
    """Header, last snapshot and all records of a whole trace. Raises ``TraceFileError``."""
    reader = TraceReader.open(path)
    try:
        blocks = list(reader.blocks())
    finally:
        reader.close()
    if reader.missing:
        raise TraceFileError(reader.missing)
    return reader.header, blocks[-1].observation, b"".join(block.records for block in blocks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says; the exit code is as in this file's first lines."""
    args = _parser().parse_args(arguments)
    try:
        if args.action == "store":
            setup = Setup(args.generation, tuple(args.op), held_nodes=tuple(args.hold))
            store(args.recording, args.golden, setup, args.command)
            return 0
        differences = [first_difference(load(path)) for path in args.golden]
    except (TraceFileError, OSError, ValueError) as error:
        sys.stderr.write(f"golden: error: {error}\n")
        return 2
    sys.stdout.write("".join(f"{text}\n" for text in differences if text))
    return int(any(differences))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True)
    storing = actions.add_parser("store", help="make a golden trace of a recording")
    storing.add_argument("recording", type=Path)
    storing.add_argument("golden", type=Path)
    storing.add_argument("--generation", required=True, help="the simulator's name for it")
    storing.add_argument("--command", required=True, help="what recorded it")
    storing.add_argument("--op", action="append", required=True, help="in order; may be repeated")
    storing.add_argument(
        "--hold", action="append", type=int, default=[], help="a node without a free GB"
    )
    comparing = actions.add_parser("compare", help="hold the simulator against golden traces")
    comparing.add_argument("golden", type=Path, nargs="+")
    return parser


if __name__ == "__main__":
    sys.exit(main())
