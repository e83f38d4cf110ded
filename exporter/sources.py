# SPDX-License-Identifier: Apache-2.0
"""Choose where events and state come from. Everything behind this is the same for all of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from probes.accounting import KernelState, State
from probes.backend import Backend
from probes.host import Host
from probes.live.backend import LiveBackend
from probes.live.handover import AUTO
from probes.live.plan import FULL
from probes.live.program_cache import DEFAULT_FOLDER
from sim_backend.backend import SimBackend
from sim_backend.scenario import default_kernel, default_scenario
from sim_backend.scenario_file import Scenario

BACKENDS = ("bcc", "sim")


class Source(NamedTuple):
    """A backend, and the state that belongs to the same kernel."""

    backend: Backend
    state: State


@dataclass(frozen=True)
class Choice:
    """What the command line says about the source."""

    backend: str
    """One of ``BACKENDS``."""
    mode: str = FULL
    attach: str = AUTO
    cache: Path | None = DEFAULT_FOLDER
    generation: str | None = None
    """None: the scenario's own, or v17-enabled."""
    seed: int | None = None
    """None: the scenario's own, or 1."""
    scenario: Scenario | None = None
    """None: the default scenario, which never ends."""
    time_scale: float = 1.0
    """Simulated seconds per second; infinite: as fast as it goes."""


def make_source(choice: Choice, host: Host, *, stream: bool = False) -> Source:
    """Make the chosen source; nothing is started yet. Raises ``ValueError`` for a machine that
    can't be what its scenario says.
    """
    if choice.backend == "bcc":
        live = LiveBackend(
            host, mode=choice.mode, attach=choice.attach, stream=stream, cache=choice.cache
        )
        return Source(live, KernelState(host))
    simulated = _make_simulation(choice, stream)
    return Source(simulated, simulated)


def _make_simulation(choice: Choice, stream: bool) -> SimBackend:
    scenario = choice.scenario
    if scenario is None:
        seed = 1 if choice.seed is None else choice.seed
        kernel = default_kernel(choice.generation or "v17-enabled", seed)
        steps = default_scenario(seed)
    else:
        kernel = scenario.boot_up(choice.generation, choice.seed)
        steps = scenario.steps(choice.seed)
    return SimBackend(
        kernel,
        steps,
        time_scale=choice.time_scale,
        stream=stream,
        loses=scenario is not None and scenario.loses,
    )
