# SPDX-License-Identifier: Apache-2.0
"""docs/generations.md says what there is: a row per generation, and the traces that prove it."""

from pathlib import Path

from sim_backend.kernel.generation import GENERATIONS
from tests import golden

PAGE = Path(__file__).parents[3] / "docs/generations.md"


def rows() -> dict[str, list[str]]:
    """Cells of the first table by generation."""
    table = PAGE.read_text().split("\n\n| generation |")[1].split("\n\n")[0]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {generation: rest for generation, *rest in cells}


def test_every_generation_has_a_row_in_order() -> None:
    assert list(rows()) == list(GENERATIONS)


def test_traces_and_the_operations_that_they_compare_are_those_that_there_are() -> None:
    traces = {path.stem: golden.load(path).setup for path in golden.TRACES.glob("*.hvot")}
    assert traces.keys() == {
        kernel_name for _, named, _ in rows().values() for kernel_name in named.split(", ")
    } - {"none"}
    for generation, (_, named, compared) in rows().items():
        of_it = {
            kernel_name: setup
            for kernel_name, setup in traces.items()
            if setup.generation == generation
        }
        assert named == (", ".join(sorted(of_it)) or "none")
        verbs = {text.split()[0] for setup in of_it.values() for text in setup.operations}
        found = {word for word in verbs if word in compared.split(": ")[0].split(", ")}
        assert found == verbs
        assert compared.startswith("none") == (not verbs)
