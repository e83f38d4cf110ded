# SPDX-License-Identifier: Apache-2.0
"""Make the backend that the command line selects: live, simulated or replayed."""

from dataclasses import dataclass
from pathlib import Path

from probes.backend import FULL, Backend, BackendError
from probes.bpf.handover import AUTO
from probes.bpf.program_cache import DEFAULT_FOLDER, SHIPPED_FOLDER
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from probes.live.state_backend import StateBackend
from probes.recording.replay import REAL_TIME, ReplayBackend
from sim_backend.backend import SimBackend
from sim_backend.kernel.generation import NEWEST
from sim_backend.scenario.default import default_kernel, default_scenario
from sim_backend.scenario.file import Scenario

BACKENDS = ("bcc", "state", "sim", "replay")


@dataclass(frozen=True)
class SourceOptions:
    """Options that select the event source."""

    backend: str
    """One of ``BACKENDS``."""
    mode: str = FULL
    attach: str = AUTO
    cache: Path | None = DEFAULT_FOLDER
    programs: Path | None = SHIPPED_FOLDER
    generation: str | None = None
    """None: the scenario's, or the newest."""
    seed: int | None = None
    """None: the scenario's, or 1."""
    scenario: Scenario | None = None
    """None: the default scenario, which is endless."""
    time_scale: float = 1.0
    """Simulated seconds per second; infinite: as fast as possible."""
    later_census: Path | None = None
    """Where ``hvoscope census --output`` leaves one."""
    replay_file: Path | None = None
    replay_speed: float = REAL_TIME


def make_backend(options: SourceOptions, host: Host, *, stream: bool = False) -> Backend:
    """Make the selected backend without starting it. Raises ``BackendError``."""
    if options.scenario is not None and options.backend != "sim":
        raise BackendError("--sim.scenario needs a simulated kernel: add --backend sim")
    if options.backend == "bcc":
        return LiveBackend(
            host,
            mode=options.mode,
            attach=options.attach,
            stream=stream,
            cache=options.cache,
            programs=options.programs,
            later_census=options.later_census,
        )
    if options.backend == "state":
        return StateBackend(host)
    if options.backend == "replay":
        if options.replay_file is None:
            raise BackendError("--backend replay needs a recording: --replay.file FILE")
        return ReplayBackend(options.replay_file, speed=options.replay_speed, stream=stream)
    return _make_simulation(options, stream)


def _make_simulation(options: SourceOptions, stream: bool) -> SimBackend:
    scenario = options.scenario
    if scenario is None:
        seed = 1 if options.seed is None else options.seed
        kernel = default_kernel(options.generation or NEWEST, seed)
        steps = default_scenario(seed)
    else:
        try:
            kernel = scenario.boot_up(options.generation, options.seed)
        except ValueError as error:
            raise BackendError(f"the simulated machine can't boot: {error}") from error
        steps = scenario.steps(options.seed)
    return SimBackend(
        kernel,
        steps,
        time_scale=options.time_scale,
        stream=stream,
        loses=scenario is not None and scenario.loses,
        about=f"scenario {scenario.name}: {scenario.description}" if scenario else "",
    )
