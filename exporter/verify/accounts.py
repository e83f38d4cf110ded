# SPDX-License-Identifier: Apache-2.0
"""What every account says at one moment; one that the kernel lacks is absent, with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from probes.counters import Counters
from probes.observation import Absent

NOT_READ = Absent("not read at this moment")


class Counted(NamedTuple):
    """Huge pages of one size by a census."""

    pages: int
    optimized: int


@dataclass(frozen=True)
class Accounts:
    """All accounts of one moment. Sizes are bytes, orders are page orders."""

    pages: Mapping[int, int]
    """The pool's files: huge pages of each size, surplus included, all nodes together."""
    surplus: Mapping[int, int]
    """Those of them that are surplus."""
    probes: Counters | Absent
    probe_trouble: str
    """Why the probes may have missed something; empty if they have not."""
    census: Mapping[int, Counted] | Absent
    """By order."""
    memmap_frames: int | Absent
    """nr_memmap_pages and nr_memmap_boot_pages together."""
    mem_total: int
    """MemTotal, bytes."""
    memory: int
    """Bytes that are free, or that a line of /proc/meminfo says are used."""
    stale_flags: int | Absent
    """Sampled free frames that still have the flag of a huge page."""
    log: tuple[str, ...] | Absent
    """Lines of the kernel's log that report a fault, since the start."""
