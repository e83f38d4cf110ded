# SPDX-License-Identifier: Apache-2.0
"""Choose where events and state come from. Everything behind this is the same for all of them."""

from typing import NamedTuple

from probes.accounting import KernelState, State
from probes.backend import Backend
from probes.host import Host
from probes.live.backend import LiveBackend
from sim_backend.backend import SimBackend
from sim_backend.scenario import default_kernel, default_scenario

BACKENDS = ("bcc", "sim")


class Source(NamedTuple):
    """A backend, and the state that belongs to the same kernel."""

    backend: Backend
    state: State


def make_source(
    name: str, host: Host, generation: str, seed: int, *, stream: bool = False
) -> Source:
    """Make the source called ``name``, one of ``BACKENDS``; nothing is started yet."""
    if name == "bcc":
        return Source(LiveBackend(host, stream=stream), KernelState(host))
    kernel = default_kernel(generation, seed)
    simulated = SimBackend(kernel, default_scenario(seed), stream=stream)
    return Source(simulated, simulated)
