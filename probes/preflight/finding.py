# SPDX-License-Identifier: Apache-2.0
"""Result of one check."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """Verdict of a check; only a problem means that the machine is not ready."""

    OK = "ok"
    WARNING = "warning"
    """Probes attach, but HVO saves less, or probes see less, than possible; or HVO is unsafe."""
    PROBLEM = "problem"
    """Probes can't be attached or miss a step, or HVO can't work at all."""
    UNKNOWN = "unknown"
    """The needed information can't be read."""


class Finding(NamedTuple):
    """Result of one check: one line that describes what was found, and one with the fix."""

    name: str
    verdict: Verdict
    what: str
    fix: str = ""

    def __str__(self) -> str:
        """Format as one line, without the name."""
        return f"{self.what}: {self.fix}" if self.fix else self.what
