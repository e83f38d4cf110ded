# SPDX-License-Identifier: Apache-2.0
"""What people read: one line for each case, and what does not add up."""

import json
from collections.abc import Iterator, Sequence

from exporter.verify.cases import Case
from exporter.verify.points import Outcome, Point, exit_code
from probes.geometry import MIB

_MARKS = {Outcome.OK: "ok", Outcome.NOT_OK: "FAIL", Outcome.SKIP: "skip"}
_SECONDS_EACH, _SECONDS_FOR_PROBES = 1, 10
"""Rounded up from a machine of today; compiling the probes takes most."""


def to_come(cases: Sequence[Case], budget: int, *, probes: bool) -> Iterator[str]:
    """What a run will do, and for how long."""
    doable = [case for case in cases if not case.skip]
    seconds = _SECONDS_FOR_PROBES * probes
    seconds += _SECONDS_EACH * sum(len(case.operations) for case in doable)
    peak = max((case.peak for case in doable), default=0)
    yield (
        f"{len(doable)} of {len(cases)} cases, at most {peak // MIB} MiB of huge pages at once "
        f"(limit: {budget // MIB} MiB), at most about {seconds} s"
    )
    yield from (f"{case.name}: {case.skip or case.about}" for case in cases)


def of_case(points: Sequence[Point]) -> Iterator[str]:
    """Lines for the points of one case."""
    outcomes = [point.outcome for point in points]
    failed = [point for point in points if point.outcome is Outcome.NOT_OK]
    mark = Outcome.NOT_OK if failed else Outcome.OK if Outcome.OK in outcomes else Outcome.SKIP
    counts = ", ".join(
        f"{outcomes.count(outcome)} {word}"
        for outcome, word in (
            (Outcome.OK, "agree"),
            (Outcome.NOT_OK, "do not"),
            (Outcome.SKIP, "absent"),
        )
        if outcome in outcomes
    )
    what = points[0].details[0] if mark is Outcome.SKIP else f"accounts: {counts}"
    yield f"{_MARKS[mark]:<5}{points[0].case:<16}{what}"
    for point in failed:
        for line in point.details:
            yield f"     {point.account}: {line}"


def result(points: Sequence[Point]) -> str:
    """The last line."""
    failed = sum(point.outcome is Outcome.NOT_OK for point in points)
    if failed:
        return f"Not ok: {failed} of {len(points)} accounts do not agree"
    return f"Ok: all {sum(point.outcome is Outcome.OK for point in points)} accounts agree"


def to_json(kernel: str, points: Sequence[Point], *, stopped: str, skipped: str) -> str:
    """``{"kernel": ..., "exit_code": ..., "stopped": ..., "skipped": ..., "points": [...]}``."""
    return json.dumps(
        {
            "kernel": kernel,
            "exit_code": exit_code(points),
            "stopped": stopped,
            "skipped": skipped,
            "points": [
                {
                    "case": point.case,
                    "account": point.account,
                    "outcome": point.outcome,
                    "details": list(point.details),
                }
                for point in points
            ],
        }
    )
