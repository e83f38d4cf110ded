# SPDX-License-Identifier: Apache-2.0
"""Make the backend that the command line selects: live, simulated or replayed."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from probes.backend import FULL, Backend, BackendError
from probes.bpf.handover import AUTO
from probes.bpf.program_cache import DEFAULT_FOLDER, SHIPPED_FOLDER
from probes.kernel.host import Host
from probes.live.backend import LiveBackend
from probes.live.state_backend import StateBackend
from probes.recording.replay import REAL_TIME, ReplayBackend

if TYPE_CHECKING:
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
    scenario: "Scenario | None" = None
    """None: the default scenario, which is endless."""
    time_scale: float = 1.0
    """Simulated seconds per second; infinite: as fast as possible."""
    later_census: Path | None = None
    """Where ``hvoscope census --output`` leaves one."""
    replay_file: Path | None = None
    replay_speed: float = REAL_TIME


def make_backend(
    options: SourceOptions, host: Host, *, stream: bool = False, stacks: bool = False
) -> Backend:
    """Make the selected backend without starting it. Raises ``BackendError``.

    ``stacks``: the events of its stream have kernel stacks.
    """
    if options.scenario is not None and options.backend != "sim":
        raise BackendError("--sim.scenario needs a simulated kernel: add --backend sim")
    if options.backend == "bcc":
        return LiveBackend(
            host,
            mode=options.mode,
            attach=options.attach,
            stream=stream,
            stacks=stacks,
            cache=options.cache,
            programs=options.programs,
            later_census=options.later_census,
        )
    if options.backend == "state":
        return StateBackend(host)
    if options.backend == "replay":
        if options.replay_file is None:
            raise BackendError("--backend replay needs a recording: --replay.file FILE")
        replay = ReplayBackend(options.replay_file, speed=options.replay_speed, stream=stream)
        if stacks and not replay.info.stacks:
            replay.stop()
            raise BackendError(
                f"{options.replay_file} was recorded without stacks: record it with --stack"
            )
        return replay
    simulated = import_module("exporter.cli.simulated_source")
    backend: Backend = simulated.make_simulation(options, stream, stacks)
    return backend
