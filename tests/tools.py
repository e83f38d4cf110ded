# SPDX-License-Identifier: Apache-2.0
"""Programs that tests need: a test says so where one is missing, and fails if nothing may skip."""

import shutil

import pytest


def need(program: str, package: str) -> str:
    """Path of ``program``; skips, naming the Debian ``package``, where it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} here: apt-get install {package}")
    return found
