# SPDX-License-Identifier: Apache-2.0
"""Choose where events and state come from. Everything behind this is the same for all of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from probes.accounting import KernelState, State
from probes.backend import Backend, BackendError
from probes.host import Host
from probes.live.backend import LiveBackend
from probes.live.handover import AUTO
from probes.live.plan import FULL
from probes.live.program_cache import DEFAULT_FOLDER
from probes.replay import REAL_TIME, ReplayBackend
from sim_backend.backend import SimBackend
from sim_backend.scenario import default_kernel, default_scenario
from sim_backend.scenario_file import Scenario

BACKENDS = ("bcc", "sim", "replay")


class Source(NamedTuple):
    """A backend, and the state that belongs to the same kernel."""

    backend: Backend
    state: State
    about: str = ""
    """One line for people about a source that is not what runs now; empty otherwise."""


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
    replay_file: Path | None = None
    replay_speed: float = REAL_TIME


def make_source(choice: Choice, host: Host, *, stream: bool = False) -> Source:
    """Make the chosen source; nothing is started yet. Raises ``BackendError``."""
    if choice.scenario is not None and choice.backend != "sim":
        raise BackendError("--sim.scenario is for a simulated kernel: add --backend sim")
    if choice.backend == "bcc":
        live = LiveBackend(
            host, mode=choice.mode, attach=choice.attach, stream=stream, cache=choice.cache
        )
        return Source(live, KernelState(host))
    if choice.backend == "replay":
        return _replayed(choice, stream)
    simulated = _make_simulation(choice, stream)
    story = choice.scenario
    about = f"scenario {story.name}: {story.description}" if story else ""
    return Source(simulated, simulated, about)


def _make_simulation(choice: Choice, stream: bool) -> SimBackend:
    scenario = choice.scenario
    if scenario is None:
        seed = 1 if choice.seed is None else choice.seed
        kernel = default_kernel(choice.generation or "v17-enabled", seed)
        steps = default_scenario(seed)
    else:
        try:
            kernel = scenario.boot_up(choice.generation, choice.seed)
        except ValueError as error:
            raise BackendError(f"the machine can't boot: {error}") from error
        steps = scenario.steps(choice.seed)
    return SimBackend(
        kernel,
        steps,
        time_scale=choice.time_scale,
        stream=stream,
        loses=scenario is not None and scenario.loses,
    )


def _replayed(choice: Choice, stream: bool) -> Source:
    if choice.replay_file is None:
        raise BackendError("--backend replay needs a recording: --replay.file FILE")
    replay = ReplayBackend(choice.replay_file, speed=choice.replay_speed, stream=stream)
    return Source(replay, replay, f"replay of {choice.replay_file}: {replay.header.about()}")
