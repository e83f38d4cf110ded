# SPDX-License-Identifier: Apache-2.0
"""What options that name a kernel to simulate share."""

import click

from sim_backend.kernel.generation import GENERATIONS
from sim_backend.kernel.release import find_generation


def generation_of(text: str | None) -> str | None:
    """The generation that a kernel release belongs to, by name; ``ValueError`` for no kernel."""
    return text and find_generation(text).name


def complete_kernel(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Generations, for the completion of a shell."""
    return [name for name in GENERATIONS if name.startswith(incomplete)]
