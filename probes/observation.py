# SPDX-License-Identifier: Apache-2.0
"""``Observation``: everything that there is to see of a kernel's HVO at one moment.

A backend makes it (``probes.backend.Backend.observe``); scrape, ``top``, recording and replay are
functions of it. Each part is a value, ``Absent`` or ``Failed``; what is not known is never 0.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from probes.counters import Counters

T = TypeVar("T")

PROBES, POOLS, SWITCH, MEMMAP, DRIFT = PARTS = ("probes", "pools", "switch", "memmap", "drift")
"""Names of an observation's parts."""


@dataclass(frozen=True)
class Absent:
    """There is no such value here."""

    reason: str
    """One line."""


@dataclass(frozen=True)
class Failed:
    """There may be a value, but reading it raised an error."""

    error: str
    """One line: the error's type and message."""


def known(part: T | Absent | Failed) -> T | None:
    """The value, or None."""
    return None if isinstance(part, Absent | Failed) else part


@dataclass(frozen=True)
class ProbeStatus:
    """The probe of one step: where it is attached, or why it is not."""

    step: str
    attached: bool
    symbol: str = ""
    """The kernel function; empty when the kernel has none for this step."""
    attach: str = ""
    """How: ``kprobe``, ``fentry``, ``simulated``; empty when not attached."""
    reason: str = ""
    """Why it is not attached, one line; empty when attached."""


@dataclass(frozen=True)
class Status:
    """How completely the probes see. Mappings lack what is not known."""

    ready: bool
    probes: tuple[ProbeStatus, ...] = ()
    problem: str = ""
    """Why it is not ready, one line with the fix."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Hits that the kernel dropped, by step."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Records lost, by where they were lost."""
    map_errors: Mapping[str, int] = field(default_factory=dict)
    """Operations for which a BPF map had no room, by map."""


class Probes(NamedTuple):
    """What the probes counted, and how well they see."""

    counters: Counters
    """Since the start; empty where nothing is attached."""
    status: Status


class Pool(NamedTuple):
    """One pool count: ``size`` in bytes, ``state`` total, free or surplus, ``pages`` of them."""

    size: int
    node: int
    state: str
    pages: int


@dataclass(frozen=True)
class Pools:
    """The pools of huge pages."""

    by_node: tuple[Pool, ...] = ()
    reserved: Mapping[int, int] = field(default_factory=dict)
    """Pages reserved for mappings but not yet allocated, by size; they belong to no node."""
    overcommit: Mapping[int, int] = field(default_factory=dict)
    """Most surplus pages that a pool may have, by size; absent where there is no limit."""


@dataclass(frozen=True)
class Memmap:
    """Memory of struct pages on the whole machine."""

    pages: Mapping[str, int]
    """Frames by allocator, ``boot`` and ``runtime``; empty where the kernel counts none."""
    saved_bytes: int | Absent
    """What HVO saves of it."""


NOT_ASKED = Absent("not asked for")


@dataclass(frozen=True)
class Observation:
    """All parts. Counters and memmap in ``drift`` are of the same moment."""

    time_ns: int
    """CLOCK_MONOTONIC of the machine that observed it."""
    probes: Probes | Absent | Failed = NOT_ASKED
    pools: Pools | Absent | Failed = NOT_ASKED
    switch: bool | Absent | Failed = NOT_ASKED
    memmap: Memmap | Absent | Failed = NOT_ASKED
    drift: int | Absent | Failed = NOT_ASKED
    """See ``probes.drift``; in frames."""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    """How long each part took to read; parts that were not asked for are left out."""

    @property
    def counters(self) -> Counters:
        """What the probes counted; empty where that is not known."""
        return self.probes.counters if isinstance(self.probes, Probes) else Counters()

    @property
    def status(self) -> Status:
        """How completely the probes see; not ready where they could not be read."""
        if isinstance(self.probes, Probes):
            return self.probes.status
        problem = self.probes.error if isinstance(self.probes, Failed) else self.probes.reason
        return Status(ready=False, problem=f"the probes can't be read: {problem}")

    def only(self, parts: Collection[str]) -> "Observation":
        """The same without the other parts."""
        left_out: dict[str, Any] = {part: NOT_ASKED for part in PARTS if part not in parts}
        return replace(self, **left_out)
