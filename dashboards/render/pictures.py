# SPDX-License-Identifier: Apache-2.0
"""Screenshots and HTML of the page, by a headless Chromium."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dashboards.render.packages import RenderError
from dashboards.render.rows import expanded

WIDTH, NARROW = 1500, 1024
"""Widths of the pictures; in the narrow one, everything must be readable, too."""
_CELL, _GAP, _HEADER = 30, 8, 84
"""Pixels, as in src/main.tsx."""
_SECONDS = 120


def height_of(model: dict[str, Any]) -> int:
    """Return the height of a dashboard in pixels, with all rows expanded."""
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in expanded(model)["panels"])
    return _HEADER + int(rows) * (_CELL + _GAP)


def picture(url: str, height: int, png: Path, width: int = WIDTH) -> None:
    """Write a screenshot of ``url``. Raises ``RenderError``."""
    _chromium(f"--screenshot={png}", f"--window-size={width},{height}", url)


def document(url: str, height: int) -> str:
    """Return the HTML of ``url`` after rendering. Raises ``RenderError``."""
    return _chromium("--dump-dom", f"--window-size={WIDTH},{height}", url)


def _chromium(*arguments: str) -> str:
    program = shutil.which("chromium")
    if program is None:
        raise RenderError("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="hvoscope-chromium-") as profile:
        command = [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-dev-shm-usage", "--force-device-scale-factor=1", "--disable-extensions"),
            *("--no-first-run", "--disable-background-networking", f"--user-data-dir={profile}"),
            *("--virtual-time-budget=30000", *arguments),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    if done.returncode:
        raise RenderError(f"chromium failed: {done.stderr.strip()[-1000:]}")
    return done.stdout
