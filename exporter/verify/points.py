# SPDX-License-Identifier: Apache-2.0
"""A test point: one account of one case, and how it was judged."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """Outcome of a test point."""

    OK = "ok"
    NOT_OK = "not ok"
    SKIP = "skip"
    """Not judged; the details say why."""


class Point(NamedTuple):
    """One account of one case."""

    case: str
    account: str
    outcome: Outcome
    details: tuple[str, ...] = ()
    """The reason of a skip, one line; or what does not add up."""

    @property
    def name(self) -> str:
        """``grow-2MB: census``."""
        return f"{self.case}: {self.account}"


EXIT_OK, EXIT_FAILED, EXIT_SKIPPED = 0, 1, 4
"""As kselftest has them (tools/testing/selftests/kselftest.h)."""


def exit_code(points: Iterable[Point]) -> int:
    """1 if any point is not ok, 4 if none was judged, else 0."""
    outcomes = {point.outcome for point in points}
    if Outcome.NOT_OK in outcomes:
        return EXIT_FAILED
    return EXIT_OK if Outcome.OK in outcomes else EXIT_SKIPPED
