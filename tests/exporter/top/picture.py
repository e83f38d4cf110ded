# SPDX-License-Identifier: Apache-2.0
"""Draw the README's picture of the screen: ``python -m tests.exporter.top.picture FILE.svg``."""

import io
import itertools
import re
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group
from rich.terminal_theme import MONOKAI

from exporter.top.history import History
from exporter.top.screen import HEIGHT, WIDTH, View, draw
from probes.observation import Observation
from sim_backend.backend import SimBackend
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.default import default_kernel, default_scenario

STEPS = 60
"""Number of operations of the default scenario; HVO is off during some of them."""


def history(kernel: SimKernel) -> tuple[History, SimBackend]:
    """Observe the default scenario after each operation, on simulated time."""
    backend = SimBackend(kernel)
    backend.start()

    def observe() -> Observation:
        return replace(backend.observe(), time_ns=kernel.now_ns)

    seen = History(observe())
    for step in itertools.islice(default_scenario(1), STEPS):
        kernel.idle(step.seconds)
        backend.perform_step(step)
        seen.add(observe())
    return seen, backend


def main() -> None:
    """Write the picture."""
    seen, backend = history(default_kernel("6.7", 1))
    console = Console(record=True, file=io.StringIO(), width=WIDTH, height=HEIGHT)
    console.print(Group(*draw(seen, backend.info, View(), WIDTH, HEIGHT)))
    svg = console.export_svg(title="hvoscope top", theme=MONOKAI, unique_id="top")
    # The fonts would be loaded from a server; any monospace font will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    Path(sys.argv[1]).write_text(svg.replace("Fira Code, monospace", "monospace"))


if __name__ == "__main__":
    main()
