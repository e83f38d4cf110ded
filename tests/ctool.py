# SPDX-License-Identifier: Apache-2.0
"""Compile and run a small C program: how C text is held against its Python twin."""

import shutil
import subprocess
from pathlib import Path

import pytest


def run_c(text: str, folder: Path) -> list[str]:
    """Return the lines that the program ``text`` prints."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: apt install gcc")
    source, program = folder / "program.c", folder / "program"
    source.write_text(text)
    subprocess.run([compiler, "-Wall", "-Werror", "-o", program, source], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.split("\n")
