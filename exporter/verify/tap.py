# SPDX-License-Identifier: Apache-2.0
"""TAP version 13, as kselftest writes it (Documentation/dev-tools/ktap.rst)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from exporter.verify.points import Outcome, Point

VERSION = "TAP version 13"


def header(points: int, about: Iterable[str]) -> Iterator[str]:
    """Lines before the first point: version, plan, what will be done."""
    yield VERSION
    yield f"1..{points}"
    yield from comments(about)


def skip_all(reason: str) -> str:
    """All output of a run that does nothing."""
    return f"{VERSION}\n1..0 # SKIP {_escaped(reason)}"


def of_point(number: int, point: Point) -> Iterator[str]:
    """A point, and its diagnostics below it."""
    name = _escaped(point.name)
    if point.outcome is Outcome.SKIP:
        yield f"ok {number} {name} # SKIP {_escaped(point.details[0])}"
        return
    yield f"{point.outcome} {number} {name}"
    yield from comments(point.details)


def totals(points: Sequence[Point]) -> str:
    """The last line, as ksft_print_cnts prints it."""
    count = Counter(point.outcome for point in points)
    return (
        f"# Totals: pass:{count[Outcome.OK]} fail:{count[Outcome.NOT_OK]} xfail:0 xpass:0 "
        f"skip:{count[Outcome.SKIP]} error:0"
    )


def bail_out(reason: str) -> str:
    """The line that ends an interrupted run."""
    return f"Bail out! {reason}"


def comments(lines: Iterable[str]) -> Iterator[str]:
    """Lines that are for people."""
    for line in lines:
        yield f"# {' '.join(line.split())}"


def _escaped(text: str) -> str:
    """A number sign begins a directive."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("#", "\\#")
