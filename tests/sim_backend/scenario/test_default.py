# SPDX-License-Identifier: Apache-2.0
"""The default scenario: the same for a seed, lively, and never impossible."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

import pytest

from probes.geometry import GIB, MIB
from probes.operations import Operation
from sim_backend.scenario.actions import Step
from sim_backend.scenario.default import LIMITS, default_kernel, default_scenario
from tests.sim_backend.harness import ALL


def operations_of(steps: Iterable[Step]) -> list[Operation]:
    """The default scenario has nothing but operations."""
    actions = [step.action for step in steps]
    operations = [action for action in actions if isinstance(action, Operation)]
    assert len(operations) == len(actions)
    return operations


def test_a_seed_is_a_scenario() -> None:
    one, same, other = (list(islice(default_scenario(seed), 200)) for seed in (3, 3, 4))
    assert one == same
    assert one != other


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_everything_happens(seed: int) -> None:
    steps = list(islice(default_scenario(seed), 400))
    assert all(0.5 <= step.seconds <= 3 for step in steps)
    operations = operations_of(steps)
    verbs = Counter((op.verb, op.size) for op in operations)
    for verb in ("grow", "shrink"):
        assert verbs[verb, 2 * MIB] > 50
        assert verbs[verb, 1 * GIB] > 20
    assert verbs["overcommit", 2 * MIB] > 10
    assert verbs["demote", 1 * GIB] > 3
    switched = [op.on for op in operations if op.verb == "hvo"]
    assert switched[:4] == [False, True, False, True]
    assert len(switched) == 19


@pytest.mark.parametrize("generation", ALL)
def test_no_step_is_impossible(generation: str) -> None:
    kernel = default_kernel(generation)
    highest = dict.fromkeys(LIMITS, 0)
    for operation in operations_of(islice(default_scenario(), 60)):
        kernel.operate(operation)
        for size in LIMITS:
            pages = sum(
                p.pages for p in kernel.pools().by_node if (p.size, p.state) == (size, "total")
            )
            highest[size] = max(highest[size], pages)
    kernel.check_conservation()
    assert all(LIMITS[size] // 2 < highest[size] <= LIMITS[size] for size in LIMITS)


def test_long_after_it_is_still_possible() -> None:
    kernel = default_kernel("v17")
    for operation in operations_of(islice(default_scenario(7), 3000)):
        kernel.operate(operation)
    kernel.check_conservation()


def test_a_machine_with_a_single_size() -> None:
    verbs = {step.action.verb for step in islice(default_scenario(0, {2 * MIB: 100}), 300)}
    assert verbs == {"grow", "shrink", "overcommit", "hvo"}
