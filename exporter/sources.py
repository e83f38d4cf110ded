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
    generation: str = "v17-enabled"
    seed: int = 1


def make_source(choice: Choice, host: Host, *, stream: bool = False) -> Source:
    """Make the chosen source; nothing is started yet."""
    if choice.backend == "bcc":
        live = LiveBackend(
            host, mode=choice.mode, attach=choice.attach, stream=stream, cache=choice.cache
        )
        return Source(live, KernelState(host))
    kernel = default_kernel(choice.generation, choice.seed)
    simulated = SimBackend(kernel, default_scenario(choice.seed), stream=stream)
    return Source(simulated, simulated)
