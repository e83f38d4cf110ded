# SPDX-License-Identifier: Apache-2.0
"""``Observation``: the state of a kernel's HVO at one moment.

A backend creates it (``probes.backend.Backend.observe``); scrape, ``top``, recording and replay are
functions of it. Each part is a value, ``Absent`` or ``Failed``; an unknown value is never 0.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from probes.counters import Counters, PageKey

T = TypeVar("T")

PROBES, POOLS, SWITCH, CENSUS, MEMMAP, DRIFT, BUGS = PARTS = (
    "probes",
    "pools",
    "switch",
    "census",
    "memmap",
    "drift",
    "bugs",
)
"""Names of the parts of an observation."""


@dataclass(frozen=True)
class Absent:
    """The value does not exist on this kernel or backend."""

    reason: str
    """One line."""


@dataclass(frozen=True)
class Failed:
    """Reading the value raised an error."""

    error: str
    """One line: the error's type and message."""


def known(part: T | Absent | Failed) -> T | None:
    """Return the value; None if it is absent or failed."""
    return None if isinstance(part, Absent | Failed) else part


@dataclass(frozen=True)
class ProbeStatus:
    """Status of the probe of one step."""

    step: str
    attached: bool
    symbol: str = ""
    """The kernel function; empty if the kernel has none for this step."""
    attach: str = ""
    """Attach type: ``kprobe``, ``fentry``, ``simulated``; empty if not attached."""
    reason: str = ""
    """Why the probe is not attached, one line; empty if attached."""


@dataclass(frozen=True)
class Status:
    """Completeness of the probes. Unknown values are absent from the mappings."""

    ready: bool
    probes: tuple[ProbeStatus, ...] = ()
    problem: str = ""
    """Why the backend is not ready, one line with the fix; empty if ready."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Probe hits that the kernel dropped, by step."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Lost event records, by buffer."""
    map_errors: Mapping[str, int] = field(default_factory=dict)
    """Operations not counted because a BPF map was full, by map."""


class Probes(NamedTuple):
    """Counters and status of the probes."""

    counters: Counters
    """Counts since the start; empty if nothing is attached."""
    status: Status


class Pool(NamedTuple):
    """Number of huge ``pages`` of ``size`` bytes in one ``state``: total, free or surplus."""

    size: int
    node: int
    state: str
    pages: int


@dataclass(frozen=True)
class Pools:
    """Huge page pools."""

    by_node: tuple[Pool, ...] = ()
    reserved: Mapping[int, int] = field(default_factory=dict)
    """Pages reserved for mappings but not yet allocated, by size; not counted per node."""
    overcommit: Mapping[int, int] = field(default_factory=dict)
    """Maximum number of surplus pages, by size; absent if there is no limit."""

    def pages(self, state: str) -> Counter[int]:
        """Pages of a state by size, all nodes together; 0 for a size that has no pool."""
        found: Counter[int] = Counter()
        for pool in self.by_node:
            if pool.state == state:
                found[pool.size] += pool.pages
        return found


@dataclass(frozen=True)
class Census:
    """Huge pages whose vmemmap is optimized now."""

    optimized: Mapping[PageKey, int]
    """Zero where there is none."""
    frames_each: Mapping[int, int]
    """Net vmemmap frames that one such page saves, by page order; absent if not known."""
    taken: float | None = None
    """Unix time of the census in seconds, from which the probes have kept the count; None for a
    simulated kernel."""

    def possible_frames(self, order: int, pages: int) -> int | None:
        """Frames saved if all of these pages were optimized; None if not known."""
        each = self.frames_each.get(order)
        return None if each is None else each * pages

    def saved_frames(self, key: PageKey | None = None) -> int | None:
        """Frames saved now, of one size and node or of all; None if not known."""
        counts = self.optimized if key is None else {key: self.optimized.get(key, 0)}
        if any(pages and page.order not in self.frames_each for page, pages in counts.items()):
            return None
        return sum(pages * self.frames_each.get(page.order, 0) for page, pages in counts.items())


@dataclass(frozen=True)
class Memmap:
    """Memory used by struct pages on the whole machine."""

    pages: Mapping[str, int]
    """Frames by allocator, ``boot`` and ``runtime``; empty if the kernel does not count them."""
    saved_bytes: int | Absent
    """Bytes of this memory that HVO saves."""


NOT_ASKED = Absent("not requested")


@dataclass(frozen=True)
class Observation:
    """All parts. ``drift`` compares counters and memmap of the same moment."""

    time_ns: int
    """CLOCK_MONOTONIC of the observed machine."""
    probes: Probes | Absent | Failed = NOT_ASKED
    pools: Pools | Absent | Failed = NOT_ASKED
    switch: bool | Absent | Failed = NOT_ASKED
    census: Census | Absent | Failed = NOT_ASKED
    memmap: Memmap | Absent | Failed = NOT_ASKED
    drift: int | Absent | Failed = NOT_ASKED
    """Accounting drift in frames; see ``probes.drift``."""
    bugs: tuple[str, ...] | Absent | Failed = NOT_ASKED
    """Bugs of HVO that the kernel is recognized to have (``probes.kernel.kernel_bugs``)."""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Time it took to read each requested part."""

    @property
    def counters(self) -> Counters:
        """Counters of the probes; empty if they are not known."""
        return self.probes.counters if isinstance(self.probes, Probes) else Counters()

    @property
    def status(self) -> Status:
        """Status of the probes; not ready if they could not be read."""
        if isinstance(self.probes, Probes):
            return self.probes.status
        problem = self.probes.error if isinstance(self.probes, Failed) else self.probes.reason
        return Status(ready=False, problem=f"the probes can't be read: {problem}")

    def only(self, parts: Collection[str]) -> "Observation":
        """Return a copy that has only these parts."""
        left_out: dict[str, Any] = {part: NOT_ASKED for part in PARTS if part not in parts}
        return replace(self, **left_out)
