# SPDX-License-Identifier: Apache-2.0
"""Whatever an alert should fire on happens in a shipped scenario, and is over or absent before."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from probes.observation import Observation, Pools, known
from sim_backend.backend import SimBackend
from sim_backend.scenario.file import load


@dataclass
class Look:
    """What can be seen after a step of a scenario."""

    seen: Observation
    frames: int
    """Frames that all struct pages of the machine fill without HVO."""

    def total(self, family: str, detail: str = "") -> int:
        return self.seen.counters.total(family, detail) or 0

    def pages(self, state: str) -> int:
        pools = known(self.seen.pools) or Pools()
        return sum(pool.pages for pool in pools.by_node if pool.state == state)

    def saved(self) -> int:
        memmap = known(self.seen.memmap)
        return self.frames - sum(memmap.pages.values()) if memmap else 0

    def mean_ns(self) -> float:
        histogram = self.seen.counters.durations.get(("optimize", 9))
        count = sum(histogram.counts) if histogram else 0
        return histogram.sum_ns / count if histogram and count else 0.0


Fires = Callable[[Look], bool]

ALERTS: dict[str, dict[str, Fires]] = {
    "switched-on-late": {
        "HVO is on, there are huge pages, and nothing is saved": lambda look: (
            look.seen.switch is True and look.pages("total") > 0 and look.saved() == 0
        ),
    },
    "memory-pressure": {
        "optimising fails": lambda look: look.total("optimize_failures", "ENOMEM") > 0,
        "restoring fails": lambda look: look.total("restore_failures", "ENOMEM") > 0,
        "surplus grows": lambda look: look.pages("surplus") > 5,
    },
    "leak": {
        "surplus grows": lambda look: look.pages("surplus") > 100,
        "no huge page is free": lambda look: look.pages("free") == 0,
    },
    "probe-loss": {
        "a probe is detached": lambda look: not look.seen.status.ready,
        "probes miss hits": lambda look: sum(look.seen.status.missed.values()) > 0,
        "the stream loses records": lambda look: sum(look.seen.status.lost.values()) > 0,
        "probes and kernel disagree": lambda look: known(look.seen.drift) not in (None, 0),
    },
    "slow-machine": {"optimising gets slower": lambda look: look.mean_ns() > 30_000},
}
"""By scenario: what an alert should fire on."""


@pytest.mark.parametrize("name", ALERTS)
def test_it_happens_but_not_after_the_first_step(name: str) -> None:
    scenario = load(name)
    backend = SimBackend(scenario.boot_up(), loses=scenario.loses)
    backend.start()
    frames = scenario.machine.memory // 4096 * 64 // 4096
    waiting = dict(ALERTS[name])
    for index, step in enumerate(scenario.steps()):
        backend.perform_step(step)
        look = Look(backend.observe(), frames)
        fired = {alert for alert, fires in waiting.items() if fires(look)}
        assert index or not fired
        for alert in fired:
            del waiting[alert]
    backend.stop()
    assert not waiting


def test_drift_stays_0_where_nothing_is_missed() -> None:
    scenario = load("memory-pressure")
    backend = SimBackend(scenario.boot_up())
    backend.start()
    for step in scenario.steps():
        backend.perform_step(step)
        assert backend.observe().drift == 0
    backend.stop()
