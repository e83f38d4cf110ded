# SPDX-License-Identifier: Apache-2.0
"""Runs a benchmark's other half in a guest."""

import sys
from pathlib import Path
from typing import Any

from tests.guests.kernels import Kernel
from tests.guests.qemu import run_in_guest

ROOT = Path(__file__).parents[2]


def run_module(kernel: Kernel, out: Path, module: str, *words: str, **options: Any) -> None:
    """``python -m MODULE WORDS`` there; ``options`` are ``run_in_guest``'s.

    Raises ``RuntimeError`` with what it said when it failed.
    """
    command = (sys.executable, "-m", module, *words)
    run = run_in_guest(kernel, command, out=out, cwd=ROOT, **options)
    if run.exit_code:
        raise RuntimeError(f"{module} failed in the guest: {run.stderr}")
