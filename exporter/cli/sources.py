# SPDX-License-Identifier: Apache-2.0
"""Choose where events and state come from. Everything behind this is the same for all of them."""

from dataclasses import dataclass
from pathlib import Path

from probes.backend import FULL, Backend, BackendError
from probes.bpf.handover import AUTO
from probes.bpf.program_cache import DEFAULT_FOLDER
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from probes.recording.replay import REAL_TIME, ReplayBackend
from sim_backend.backend import SimBackend
from sim_backend.scenario.default import default_kernel, default_scenario
from sim_backend.scenario.file import Scenario

BACKENDS = ("bcc", "sim", "replay")


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


def make_backend(choice: Choice, host: Host, *, stream: bool = False) -> Backend:
    """Make the chosen backend; nothing is started yet. Raises ``BackendError``."""
    if choice.scenario is not None and choice.backend != "sim":
        raise BackendError("--sim.scenario is for a simulated kernel: add --backend sim")
    if choice.backend == "bcc":
        return LiveBackend(
            host, mode=choice.mode, attach=choice.attach, stream=stream, cache=choice.cache
        )
    if choice.backend == "replay":
        if choice.replay_file is None:
            raise BackendError("--backend replay needs a recording: --replay.file FILE")
        return ReplayBackend(choice.replay_file, speed=choice.replay_speed, stream=stream)
    return _make_simulation(choice, stream)


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
        about=f"scenario {scenario.name}: {scenario.description}" if scenario else "",
    )
