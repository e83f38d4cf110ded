# SPDX-License-Identifier: Apache-2.0
"""What a running process takes."""

import re
from pathlib import Path
from typing import NamedTuple


class Taken(NamedTuple):
    """Resident memory in KiB, threads, open descriptors."""

    rss_kib: int
    threads: int
    descriptors: int


def taken(pid: int, proc: Path = Path("/proc")) -> Taken:
    """Look once. Raises ``OSError`` when the process is gone or another user's."""
    status = (proc / str(pid) / "status").read_text()

    def number(name: str) -> int:
        (found,) = re.findall(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
        return int(found)

    descriptors = sum(1 for _ in (proc / str(pid) / "fd").iterdir())
    return Taken(number("VmRSS"), number("Threads"), descriptors)
