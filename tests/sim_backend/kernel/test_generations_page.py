# SPDX-License-Identifier: Apache-2.0
"""docs/generations.md says what there is: a row per generation, and the kernels that prove it."""

import json
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
    digests: str
    operations: str


def rows() -> list[Row]:
    """The first table."""
    table = PAGE.read_text().split("\n\n| generation |")[1].split("\n\n")[0]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [Row(*one) for one in cells]


def kept() -> dict[str, Setup]:
    """What was done for each golden trace."""
    return {path.stem: golden.load(path).setup for path in golden.TRACES.glob("*.hvot")}


def digested() -> dict[str, Setup]:
    """What was done for each recording of which a digest is left."""
    digests = json.loads((golden.TRACES / golden.DIGESTS).read_text())
    return {name: golden.setup_of(entry["setup"]) for name, entry in digests.items()}


def test_every_generation_has_a_row_in_order() -> None:
    assert [row.generation for row in rows()] == list(GENERATIONS)


def test_the_recordings_named_are_those_that_there_are() -> None:
    for column, recordings in (("traces", kept()), ("digests", digested())):
        for row in rows():
            of_it = (name for name, s in recordings.items() if s.generation == row.generation)
            assert getattr(row, column) == (", ".join(sorted(of_it)) or "none")


def test_the_operations_compared_are_those_that_were_done() -> None:
    setups = [*kept().values(), *digested().values()]
    for row in rows():
        of_it = [setup for setup in setups if setup.generation == row.generation]
        verbs = {text.split()[0] for setup in of_it for text in setup.operations}
        verbs |= {"boot" for setup in of_it if setup.hugepages}
        named = row.operations.split(": ")[0].split(", ")
        assert sorted(named) == (sorted(verbs) or ["none"])
