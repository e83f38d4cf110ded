# SPDX-License-Identifier: Apache-2.0
"""A guest's pools of huge pages, as the benchmarks resize them."""

from dataclasses import dataclass, replace
from pathlib import Path

from probes.geometry import GIB, KIB
from tests.kernel.workload import SWITCH


@dataclass(frozen=True)
class Pool:
    """The persistent huge pages of one size on one node."""

    size: int
    node: int = 0
    held: int = 0
    """Pages that are there all the time."""

    @property
    def path(self) -> Path:
        """Where it is made larger and smaller."""
        folder = f"node{self.node}/hugepages/hugepages-{self.size // KIB}kB"
        return Path("/sys/devices/system/node", folder, "nr_hugepages")

    @property
    def pages(self) -> int:
        """How many there are, but for those that are held."""
        return int(self.path.read_text()) - self.held

    def resize(self, pages: int) -> None:
        """Ask for so many; the kernel gives what it finds."""
        self.path.write_text(str(self.held + pages))


def full_of_gigabytes(node: int) -> Pool | None:
    """All 1 GB pages that a node gives; all but one are held. None where there are not two.

    That one comes again and again: everything that could lie in its place is elsewhere, and what
    is restored for it is allocated before it is given back. (Not on Debian's 6.12.118, which takes
    a place that was used for huge pages still: probes/preflight/free_memory.py.) The others are not
    optimised: the first page that is, and the last, make the kernel patch its own code
    (hugetlb_optimize_vmemmap_key), and so they do in every other measurement. HVO is on afterwards.
    """
    pool = Pool(GIB, node)
    SWITCH.write_text("0")
    pool.resize(1 << 10)
    there = pool.pages
    pool.resize(max(there - 1, 0))
    SWITCH.write_text("1")
    return replace(pool, held=there - 1) if there > 1 else None
