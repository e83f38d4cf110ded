# SPDX-License-Identifier: Apache-2.0
"""The default scenario: a machine whose pools breathe, so that dashboards have something to show.

A scenario is an iterator of steps. It knows the pools only by its own operations, so it must
begin on a fresh kernel and be the only one to change it.
"""

from collections.abc import Iterator, Mapping
from itertools import count
from math import sin
from random import Random
from types import MappingProxyType

from probes.geometry import GIB, MIB
from probes.operations import SWITCH_VERB, Operation
from sim_backend.kernel.generation import NEWEST
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Step

LIMITS: Mapping[int, int] = MappingProxyType({2 * MIB: 2048, 1 * GIB: 8})
"""Most pages of each size in bytes: 12 GB together, of the 32 GB of ``default_kernel``."""

_SWITCH_EVERY = 40
_OFF_FOR = 8
_WAVE = 18.0
_OVERCOMMIT_MOST = 17


def default_kernel(generation: str = NEWEST, seed: int = 0) -> SimKernel:
    """The machine for ``default_scenario``: two nodes of 16 GB, 2 MB and 1 GB pages."""
    return SimKernel(generation, nodes=2, memory_per_node=16 * GIB, seed=seed)


def default_scenario(seed: int = 0, limits: Mapping[int, int] = LIMITS) -> Iterator[Step]:
    """Yield steps for ever: pools grow and shrink in waves, and HVO goes off for a while.

    The same ``seed`` gives the same steps. Within ``limits`` none is impossible, as long as
    memory is some three times as large.
    """
    random = Random(seed)  # noqa: S311 - a scenario is no secret
    pages = dict.fromkeys(sorted(limits), 0)
    for step in count():
        yield Step(random.uniform(0.5, 3.0), _operation(step, random, pages, limits))


def _operation(
    step: int, random: Random, pages: dict[int, int], limits: Mapping[int, int]
) -> Operation:
    since_switch = (step + _OFF_FOR) % _SWITCH_EVERY
    if since_switch == 0:
        return Operation(SWITCH_VERB, on=False)
    if since_switch == _OFF_FOR and step:
        return Operation(SWITCH_VERB, on=True)
    small, large = min(pages), max(pages)
    draw = random.random()
    if draw < 0.1:
        return Operation("overcommit", small, random.randint(1, _OVERCOMMIT_MOST))
    if draw < 0.15 and small < large and pages[large]:
        parts = large // small
        if pages[small] + parts <= limits[small]:
            pages[large] -= 1
            pages[small] += parts
            return Operation("demote", large, 1)
    size = large if draw > 0.8 else small
    return _resize(step, random, size, pages, limits[size])


def _resize(step: int, random: Random, size: int, pages: dict[int, int], limit: int) -> Operation:
    """Move a pool towards a wave between a tenth and nine tenths of its limit."""
    wish = round(limit * (0.5 + 0.4 * sin(step / _WAVE)))
    most = max(1, limit // 10)
    amount = random.randint(1, most)
    if pages[size] <= wish and pages[size] < limit:
        amount = min(amount, limit - pages[size])
        pages[size] += amount
        return Operation("grow", size, amount)
    amount = min(amount, pages[size])
    pages[size] -= amount
    return Operation("shrink", size, amount)
