# SPDX-License-Identifier: Apache-2.0
"""Small /proc, /sys and /lib/modules trees, as files."""

from collections.abc import Mapping
from pathlib import Path

from probes.host import Host


def make_host(root: Path, files: Mapping[str, str]) -> Host:
    """Write ``files`` (path below ``root`` -> contents) and return the host made of them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(root / "proc", root / "sys", root / "modules", "6.1.0-test")
