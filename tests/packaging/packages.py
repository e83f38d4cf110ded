# SPDX-License-Identifier: Apache-2.0
"""Building the packages, and what they must have in common."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = {
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "dh_python3": "dh-python",
    "lintian": "lintian",
    "systemd-nspawn": "systemd-container",
    "man": "man-db",
    "rpmbuild": "rpm",
}

SHARED: Mapping[str, str] = {
    "rules": "dashboards/rules/*.yml",
    "alertmanager": "dashboards/alertmanager/*.yml",
    "dashboards": "dashboards/json/*.json",
    "runbooks": "dashboards/runbooks/*.md",
    ".": "docs/metrics.md",
}
"""Sources of files in /usr/share/hvoscope, by their folder there."""


def build(kind: str) -> Path:
    """Run ``packaging/build_KIND.py`` and return the package; skip without the tools or root."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing or os.geteuid():
        pytest.skip(f"as root, with apt install {' '.join(missing or TOOLS.values())}")
    built = subprocess.run(
        [sys.executable, ROOT / f"packaging/build_{kind}.py"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return Path(built.stdout.strip())
