# SPDX-License-Identifier: Apache-2.0
"""Which events of a stream are wanted."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from probes.events import RECORD, Event, Kind, offset_of

PTE_KINDS = frozenset({Kind.REMAP_PTE, Kind.RESTORE_PTE})
EXIT_KINDS = frozenset({Kind.OPTIMIZE_EXIT, Kind.RESTORE_EXIT, Kind.BATCH_EXIT})

_KIND_OFFSET = offset_of("kind")


def step_of(kind: Kind) -> str:
    """The step (``probes.backend.STEPS``) that an event of this kind is of."""
    return kind.name.lower().removesuffix("_enter").removesuffix("_exit")


@dataclass(frozen=True)
class Selection:
    """Conditions that all must hold; an empty collection asks for nothing."""

    pte: bool = True
    """Also the events of single PTEs, unless ``steps`` says which."""
    steps: Collection[str] = ()
    sizes: Collection[int] = ()
    """Of huge pages, in bytes."""
    nodes: Collection[int] = ()
    pids: Collection[int] = ()
    """Of threads or of processes."""
    comms: Collection[str] = ()
    """Patterns as a shell's, any of which must match."""
    failed: bool = False
    """Only ends of what failed."""
    min_latency_ns: int = 0
    """Only ends of what took so long."""

    def kinds(self) -> frozenset[Kind]:
        """Kinds among which the wanted events are."""
        kinds = EXIT_KINDS if self.failed or self.min_latency_ns else frozenset(Kind)
        if self.steps:
            return frozenset(kind for kind in kinds if step_of(kind) in self.steps)
        return kinds if self.pte else kinds - PTE_KINDS

    def of(self, block: bytes, page_size: int) -> Iterator[tuple[int, Event]]:
        """The wanted events of a block of records, each with its number in it.

        ``page_size`` is that of the kernel's base pages, in bytes.
        """
        kinds = self.kinds()
        for number, kind in enumerate(block[_KIND_OFFSET :: RECORD.size]):
            if kind in kinds:
                event = Event.unpack(block[number * RECORD.size : (number + 1) * RECORD.size])
                if self._wants(event, page_size):
                    yield number, event

    def _wants(self, event: Event, page_size: int) -> bool:
        comm = event.comm.decode(errors="backslashreplace")
        return (
            (not self.sizes or page_size << event.order in self.sizes)
            and (not self.nodes or event.node in self.nodes)
            and (not self.pids or event.pid in self.pids or event.tgid in self.pids)
            and (not self.comms or any(fnmatchcase(comm, wanted) for wanted in self.comms))
            and not (self.failed and event.ret >= 0)
            and event.duration_ns >= self.min_latency_ns
        )
