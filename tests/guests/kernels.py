# SPDX-License-Identifier: Apache-2.0
"""What a bootable kernel is to the harness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    """A kernel image, and the files of its that a guest must see at their usual paths."""

    name: str
    """The test kernel's name: `debian-6.1`, `patched`."""
    release: str
    """What `uname -r` says in the guest."""
    vmlinuz: Path
    modules: Path | None
    """The tree `lib/modules/<release>`, or None when everything is built in."""
    links: tuple[tuple[str, Path], ...]
    """(path in the guest, directory on the host): headers where BCC looks for them."""
    append: str = ""
    """Boot parameters that belong to the test kernel."""


Kernels = Callable[[str], Kernel]
"""Gives a test kernel by its name; see the fixture of this name."""
