# SPDX-License-Identifier: Apache-2.0
"""Scenarios as TOML files: a machine and what happens to it, for people to read and write.

Those that come with the package are in ``shipped/``, and show all that there is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.geometry import size_label
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Step
from sim_backend.scenario.ledger import Ledger
from sim_backend.scenario.machine import MachineSpec, read_machine
from sim_backend.scenario.timeline import (
    Entry,
    Line,
    check_line,
    parse_interval,
    parse_time,
    seeded,
    timeline,
)
from sim_backend.scenario.toml_table import Table, TomlError, read_toml

_FOLDER = Path(__file__).with_name("shipped")
_SUFFIX = ".toml"
_MOST_STEPS = 100_000
"""Each second of a day, and more: what a second's work can check."""


@dataclass(frozen=True)
class Scenario:
    """One scenario file."""

    name: str
    description: str
    duration: float
    """Seconds of simulated time."""
    seed: int
    loop: bool
    """Whether it begins again when it is over."""
    machine: MachineSpec
    entries: tuple[Entry, ...]

    @property
    def loses(self) -> bool:
        """Whether it makes an event stream lose records."""
        lines = [line.text for entry in self.entries for line in entry.lines]
        return any(line.split()[0] == "lose" for line in lines)

    def boot_up(self, kernel: str | None = None, seed: int | None = None) -> SimKernel:
        """Make its machine; ``kernel`` and ``seed`` instead of its own. Raises ``ValueError``."""
        return self.machine.boot_up(kernel or self.machine.kernel, self._seed(seed))

    def steps(self, seed: int | None = None) -> Iterator[Step]:
        """Yield what happens, the same for a seed; for ever if it loops."""
        random = seeded(self._seed(seed))
        rest = 0.0
        while True:
            passed = -rest
            for step in timeline(self.entries, random, rest):
                passed += step.seconds
                yield step
            if not self.loop or not self.entries:
                return
            rest = self.duration - passed

    def _seed(self, seed: int | None) -> int:
        return self.seed if seed is None else seed


def shipped() -> tuple[str, ...]:
    """Names of the scenarios that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}")))


def load(name_or_file: str) -> Scenario:
    """Read a scenario of the package by name, or any other by its file; ``-``: standard input.

    Raises ``TomlError``, which names file and line.
    """
    if name_or_file in shipped():
        return read_scenario(_FOLDER / f"{name_or_file}{_SUFFIX}")
    path = Path("/dev/stdin" if name_or_file == "-" else name_or_file)
    if path.suffix != _SUFFIX and not path.exists():
        raise TomlError(
            f"no scenario is called {name_or_file!r} (there are {', '.join(shipped())}; "
            f"a file of your own ends in {_SUFFIX})"
        )
    return read_scenario(path)


def read_scenario(path: Path) -> Scenario:
    """Read and check one file. Raises ``TomlError``."""
    table = read_toml(path)
    duration = table.text("duration", parse_time)
    scenario = Scenario(
        name=path.stem,
        description=" ".join(table.text("description", str).split()),
        duration=duration,
        seed=table.number("seed", 0, 1),
        loop=table.flag("loop", False),
        machine=read_machine(table.table("machine")),
        entries=tuple(_read_entry(step, duration) for step in table.tables("step")),
    )
    table.end()
    _check(scenario, table)
    return scenario


def _read_entry(table: Table, duration: float) -> Entry:
    at = table.text("at", parse_time)
    if at > duration:
        raise table.error("at", "this step begins after the scenario has ended")
    every = table.text("every", parse_interval) if table.has("every") else None
    if table.has("until") and every is None:
        raise table.error("until", "until says when to stop repeating, so it needs every")
    until = table.text("until", parse_time, duration)
    if not at <= until <= duration:
        raise table.error("until", "until must lie between at and the end of the scenario")
    lines = table.texts("do", lambda text: Line(check_line(text), table.where("do", text)))
    if not lines:
        raise table.error("do", "do is missing: what is to happen?")
    entry = Entry(at, lines, every, until, table.flag("may-fail", False))
    table.end()
    return entry


def _check(scenario: Scenario, table: Table) -> None:
    """Add up what is asked of the machine, for the scenario's own seed."""
    ledger = Ledger(scenario.machine)
    for operation in scenario.machine.boot:
        try:
            ledger.enter(operation)
        except ValueError as error:
            where = table.table("machine").where("boot", str(operation))
            raise TomlError(f"{where}: {error}") from None
    before = ledger.pools
    for count, step in enumerate(timeline(scenario.entries, seeded(scenario.seed), 0.0)):
        if count == _MOST_STEPS:
            raise TomlError(f"{step.where}: more than {_MOST_STEPS} steps: make every longer")
        try:
            ledger.enter(step.action, may_fail=step.may_fail)
        except ValueError as error:
            raise TomlError(f"{step.where}: {error}") from None
    if scenario.loop and ledger.pools != before:
        changed = [size for size, pages in ledger.pools.items() if pages != before[size]]
        raise table.error(
            "loop",
            "at the end the pools must be as in the beginning, and are not: "
            + ", ".join(map(size_label, changed)),
        )
