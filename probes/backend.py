# SPDX-License-Identifier: Apache-2.0
"""What every source of events looks like from downstream: live kernel, simulation, replay."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from probes.counters import Counters

STEPS: tuple[str, ...] = (
    "batch",
    "optimize",
    "remap_range",
    "remap_pte",
    "restore",
    "restore_pte",
)
"""The semantic steps, from the outside in."""


@dataclass(frozen=True)
class ProbeStatus:
    """One step's probe: where it sits, or why it does not."""

    step: str
    attached: bool
    symbol: str = ""
    """The kernel function; empty when the kernel has none for this step."""
    attach: str = ""
    """How: ``kprobe``, ``fentry``, ``simulated``; empty when not attached."""
    reason: str = ""
    """Why not attached, one line; empty when attached."""


@dataclass(frozen=True)
class Status:
    """How well a backend sees. Mappings lack what it can't know."""

    ready: bool
    probes: tuple[ProbeStatus, ...] = ()
    problem: str = ""
    """Why the backend as a whole is not ready, one line with the fix."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Hits that the kernel dropped, by step."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Records lost, by place of loss."""
    map_errors: Mapping[str, int] = field(default_factory=dict)
    """Operations that found no room in a BPF map, by map."""


@dataclass(frozen=True)
class Info:
    """Which source this is; constant while it runs."""

    backend: str
    kernel: str
    mode: str
    page_size: int


class BackendError(Exception):
    """A backend can't do what was asked; the message is one line that names the fix."""


class Backend(Protocol):
    """A source of counters and events.

    ``counters`` and ``status`` may be called from any thread between ``start`` and ``stop``.
    """

    @property
    def info(self) -> Info:
        """Name, kernel and mode, for labels and logs."""

    def prepare(self) -> None:
        """Take what needs a privilege; the process may then give up all it has."""

    def start(self) -> None:
        """Begin to observe. Raises ``BackendError``; nothing is then left half attached."""

    def stop(self) -> None:
        """End observing and give everything back; safe to call twice and without ``start``."""

    def counters(self) -> Counters:
        """Totals since ``start``."""

    def records(self) -> Iterator[bytes]:
        """Stream event records as they happen, in blocks of whole records, until ``stop``.

        Read them with ``probes.events.unpack_all``. One consumer; an empty block means that
        nothing happened for a while (so that a consumer can look at its own clock).
        Raises ``BackendError`` where the backend was made without a stream.
        """

    def status(self) -> Status:
        """How well it sees just now."""
