# SPDX-License-Identifier: Apache-2.0
"""Filters on the event stream."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from probes.events import RECORD, Event, Kind, offset_of

PTE_KINDS = frozenset({Kind.REMAP_PTE, Kind.RESTORE_PTE})
PTE_STEPS = frozenset({"remap_pte", "restore_pte"})
EXIT_KINDS = frozenset({Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT, Kind.BATCH_EXIT})
ENTER_OR_EXIT_KINDS = frozenset(Kind) - PTE_KINDS - {Kind.REMAP_RANGE}

_KIND_OFFSET = offset_of("kind")


def step_of(kind: Kind) -> str:
    """Return the step (one of ``probes.backend.STEPS``) of an event kind."""
    return kind.name.lower().removesuffix("_enter").removesuffix("_exit")


@dataclass(frozen=True)
class Selection:
    """Conditions that must all hold; an empty collection is no condition."""

    pte: bool = True
    """Include events of single PTEs; ignored if ``steps`` is given."""
    steps: Collection[str] = ()
    sizes: Collection[int] = ()
    """Huge page sizes in bytes."""
    nodes: Collection[int] = ()
    pids: Collection[int] = ()
    """IDs of threads or processes."""
    comms: Collection[str] = ()
    """Shell patterns; one must match."""
    failed: bool = False
    """Only exits with an error."""
    min_latency_ns: int = 0
    """Only exits of calls that took at least this long."""

    def kinds(self) -> frozenset[Kind]:
        """Return the event kinds that can match."""
        kinds = EXIT_KINDS if self.failed or self.min_latency_ns else frozenset(Kind)
        if self.steps:
            return frozenset(kind for kind in kinds if step_of(kind) in self.steps)
        return kinds if self.pte else kinds - PTE_KINDS

    def of(self, block: bytes, page_size: int) -> Iterator[tuple[int, Event]]:
        """Yield the matching events of a block of records, each with its index in the block.

        ``page_size`` is the kernel's base page size in bytes.
        """
        kinds = self.kinds()
        for number, kind in enumerate(block[_KIND_OFFSET :: RECORD.size]):
            if kind in kinds:
                event = Event.unpack(block[number * RECORD.size : (number + 1) * RECORD.size])
                if self._matches(event, page_size):
                    yield number, event

    def _matches(self, event: Event, page_size: int) -> bool:
        comm = event.comm.decode(errors="backslashreplace")
        return (
            (not self.sizes or page_size << event.order in self.sizes)
            and (not self.nodes or event.node in self.nodes)
            and (not self.pids or event.pid in self.pids or event.tgid in self.pids)
            and (not self.comms or any(fnmatchcase(comm, wanted) for wanted in self.comms))
            and not (self.failed and event.ret >= 0)
            and event.duration_ns >= self.min_latency_ns
        )
