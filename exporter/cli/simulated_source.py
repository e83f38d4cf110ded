# SPDX-License-Identifier: Apache-2.0
"""The simulated backend that the command line selects; the daemon of a real kernel imports none."""

from exporter.cli.sources import SourceOptions
from probes.backend import BackendError
from sim_backend.backend import SimBackend
from sim_backend.kernel.generation import NEWEST
from sim_backend.scenario.default import default_kernel, default_scenario


def make_simulation(options: SourceOptions, stream: bool, stacks: bool) -> SimBackend:
    """Make it without starting it. Raises ``BackendError``."""
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
        stacks=stacks,
        loses=scenario is not None and scenario.loses,
        about=f"scenario {scenario.name}: {scenario.description}" if scenario else "",
    )
