# SPDX-License-Identifier: Apache-2.0
"""What one check says about the machine."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How a check came out; only a problem makes the machine unfit."""

    OK = "ok"
    WARNING = "warning"
    """Probes attach, but less is saved or seen than could be, or the kernel is in danger."""
    PROBLEM = "problem"
    """Probes can't be attached or miss a step, or HVO can't work at all."""
    UNKNOWN = "unknown"
    """What would tell can't be read."""


class Finding(NamedTuple):
    """The outcome of one check: one line of what was seen, and one of how to mend it."""

    name: str
    verdict: Verdict
    what: str
    fix: str = ""

    def __str__(self) -> str:
        """One line, without the name."""
        return f"{self.what}: {self.fix}" if self.fix else self.what
