# SPDX-License-Identifier: Apache-2.0
"""What is asked of a machine that is verified: the running one, or a simulated one."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from exporter.verify.accounts import Accounts
from probes.observation import Absent
from probes.operations import Operation

USE, END_USE = "use", "end use"
"""Verbs beside those of ``probes.operations``: a task maps pages beyond the pool, and ends."""
FAIL = "fail to shrink"
"""Another: the pool shrinks while the kernel gets no memory to restore pages."""

MAX_BUDDY_ORDER = 10
"""Pages of a larger order are gigantic: they can't be surplus (include/linux/mmzone.h)."""


class HugePageSize(NamedTuple):
    """A size of huge pages."""

    size: int
    """Bytes."""
    order: int
    net_frames: int | None
    """Frames that an optimized page saves, net; 0 if HVO does not optimize this size, None if the
    kernel does not say."""
    vmemmap_frames: int
    """Frames of its struct pages."""
    smaller: int | None = None
    """Size in bytes that its pages can be demoted to; None if they can't."""

    @property
    def gigantic(self) -> bool:
        """Whether the buddy allocator has no such pages."""
        return self.order > MAX_BUDDY_ORDER


class ImpossibleError(Exception):
    """The machine could not do an operation, for want of memory; the message is one line."""


class Machine(Protocol):
    """A machine with HVO switched on, or with a switch."""

    @property
    def name(self) -> str:
        """Kernel release."""

    @property
    def page_size(self) -> int:
        """Base page size in bytes."""

    @property
    def sizes(self) -> tuple[HugePageSize, ...]:
        """Sizes of huge pages, ascending."""

    @property
    def has_switch(self) -> bool:
        """Whether HVO can be switched at run time (Linux 5.19)."""

    @property
    def known_bugs(self) -> Mapping[str, str] | Absent:
        """Bugs of HVO that the kernel is recognized to have: name, and what happens."""

    @property
    def never_fails(self) -> str:
        """Why the kernel can't be made to have no memory, one line; empty if it can."""

    def free_bytes(self) -> int:
        """Free memory."""

    def perform(self, operation: Operation) -> None:
        """Do it. Raises ``ImpossibleError``, then it may be done in part."""

    def read(self, *, flags: bool = False) -> Accounts:
        """Read every account now; page flags, which take longest, only if asked for."""

    def put_back(self) -> tuple[str, ...]:
        """Make pools, switch and overcommit what they were; return what could not be."""
