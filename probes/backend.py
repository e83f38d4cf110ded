# SPDX-License-Identifier: Apache-2.0
"""The interface of every source of events: live kernel, simulation, replay."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from probes.observation import PARTS, Observation

STEPS: tuple[str, ...] = (
    "batch",
    "optimize",
    "remap_range",
    "remap_pte",
    "restore",
    "restore_pte",
)
"""Steps of the kernel's HVO code path, outermost first; what each kernel calls them differs."""

FULL, RANGE = MODES = ("full", "range")
"""``full`` probes every PTE; ``range`` reads the count of the range walk, several times cheaper."""


@dataclass(frozen=True)
class Info:
    """Identity of a source; constant while it runs."""

    backend: str
    kernel: str
    mode: str
    page_size: int
    about: str = ""
    """One line about a source that is not the running kernel; empty for a live one."""
    supported: bool | None = None
    """Whether the kernel can optimize huge pages; None: not known, or not a running kernel."""
    checks: Mapping[str, bool] = field(default_factory=dict)
    """What the checks found at the start, by name: whether there is no problem. Unknown: absent."""


class BackendError(Exception):
    """A backend failed; the message is one line that names the problem and the fix."""


class Backend(Protocol):
    """A source of observations and events."""

    @property
    def info(self) -> Info:
        """Name, kernel and mode, for labels and logs."""

    def prepare(self) -> None:
        """Acquire what needs privileges; the process may drop all of them afterwards."""

    def start(self) -> None:
        """Start observing. Raises ``BackendError`` and leaves nothing attached in that case."""

    def stop(self) -> None:
        """Stop observing and release all resources; safe to call twice and without ``start``."""

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Return the current observation, or these parts of it. Callable from any thread.

        Never raises, even before ``start``: a part that can't be read is ``Absent`` or ``Failed``.
        """

    def reload(self) -> None:
        """Take up what another process has left for this one; SIGHUP. Never raises."""

    def records(self) -> Iterator[bytes]:
        """Stream event records as they happen, in blocks of whole records, until ``stop``.

        Decode them with ``probes.events.unpack_all``. Supports one consumer. An empty block means
        that nothing happened for a while, so that the consumer can check its own deadlines.
        Raises ``BackendError`` if the backend was created without a stream.
        """
