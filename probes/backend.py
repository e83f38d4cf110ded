# SPDX-License-Identifier: Apache-2.0
"""What every source of events looks like from downstream: live kernel, simulation, replay."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
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
"""The semantic steps, from the outside in."""

FULL, RANGE = MODES = ("full", "range")
"""``full`` sees every PTE; ``range`` takes the count from the range walk, several times cheaper."""


@dataclass(frozen=True)
class Info:
    """Which source this is; constant while it runs."""

    backend: str
    kernel: str
    mode: str
    page_size: int
    about: str = ""
    """One line for people about a source that is not the running kernel; empty otherwise."""


class BackendError(Exception):
    """A backend can't do what was asked; the message is one line that names the fix."""


class Backend(Protocol):
    """A source of observations and events."""

    @property
    def info(self) -> Info:
        """Name, kernel and mode, for labels and logs."""

    def prepare(self) -> None:
        """Take what needs a privilege; the process may then give up all it has."""

    def start(self) -> None:
        """Begin to observe. Raises ``BackendError``; nothing is then left half attached."""

    def stop(self) -> None:
        """End observing and give everything back; safe to call twice and without ``start``."""

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Everything that there is to see now, or these parts of it. From any thread.

        Raises nothing, started or not: what can't be read is absent or failed.
        """

    def records(self) -> Iterator[bytes]:
        """Stream event records as they happen, in blocks of whole records, until ``stop``.

        Read them with ``probes.events.unpack_all``. One consumer; an empty block means that
        nothing happened for a while (so that a consumer can look at its own clock).
        Raises ``BackendError`` where the backend was made without a stream.
        """
