# SPDX-License-Identifier: Apache-2.0
"""docs/generations.md says what there is: a row per generation, and the kernels that prove it."""

from pathlib import Path
from typing import NamedTuple

from sim_backend.kernel.generation import GENERATIONS
from tests import golden
from tests.simulated import Setup

PAGE = Path(__file__).parents[3] / "docs/generations.md"


class Row(NamedTuple):
    """Cells of one row."""

    generation: str
    kernels: str
    traces: str
    operations: str


def rows() -> list[Row]:
    """The first table."""
    table = PAGE.read_text().split("\n\n| generation |")[1].split("\n\n")[0]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [Row(*one) for one in cells]


def kept() -> dict[str, Setup]:
    """What was done for each golden trace."""
    return {path.stem: golden.load(path).setup for path in golden.TRACES.glob("*.hvot")}


def test_every_generation_has_a_row_in_order() -> None:
    assert [row.generation for row in rows()] == list(GENERATIONS)


def test_the_traces_named_are_those_that_there_are() -> None:
    setups = kept()
    for row in rows():
        of_it = (name for name, setup in setups.items() if setup.generation == row.generation)
        assert row.traces == (", ".join(sorted(of_it)) or "none")


def test_the_operations_compared_are_those_that_were_done() -> None:
    setups = kept()
    for row in rows():
        of_it = [setup for setup in setups.values() if setup.generation == row.generation]
        verbs = {text.split()[0] for setup in of_it for text in setup.operations}
        verbs |= {"boot" for setup in of_it if setup.hugepages}
        named = row.operations.split(": ")[0].split(", ")
        assert sorted(named) == (sorted(verbs) or ["none"])
