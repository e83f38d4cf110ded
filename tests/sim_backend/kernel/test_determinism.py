# SPDX-License-Identifier: Apache-2.0
"""The same seed gives the same bytes; another gives other times, but not other work."""

import pytest

from probes.events import canonical
from tests.sim_backend.harness import ALL, Traced

WORK = ("grow 2MB 23", "overcommit 2MB 3", "shrink 2MB 7", "hvo off", "grow 2MB 2")


def records(generation: str, seed: int) -> bytes:
    traced = Traced(generation, nodes=2, seed=seed).run(*WORK)
    return b"".join(event.pack() for event in traced.events)


@pytest.mark.parametrize("generation", ALL)
def test_same_seed(generation: str) -> None:
    assert records(generation, 5) == records(generation, 5)


@pytest.mark.parametrize("generation", ALL)
def test_other_seed(generation: str) -> None:
    one, other = (Traced(generation, seed=seed).run("grow 2MB 23") for seed in (1, 2))
    assert [e.duration_ns for e in one.events] != [e.duration_ns for e in other.events]
    assert list(canonical(one.events)) == list(canonical(other.events))
